"""What one agent may ask of one replica, so that a desktop that runs wild, or a stolen token, hurts nobody else."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import Request

from agent_presence import metrics
from agent_presence.errors import TOO_OFTEN
from agent_presence.inboxes import Inboxes
from common.runtime.auth import Principal
from common.runtime.borders import Judge
from common.runtime.problems import ProblemRaised
from common.runtime.rates import RequestRate, seconds

CHANGES_BURST_S = 3
"""Commands and changes may come so many seconds' worth at once: after a broken line a desktop repeats what is open."""
STRAYS_PER_S = 0.5
STRAYS_BURST = 50
"""Commands about attempts that the agent's inbox does not show: late ones are normal, many are not, and each is kept."""
POLL_AGAIN_S = 5
"""When a poll that had to give way may ask again: windows that push each other out do not spin."""


@dataclass(eq=False, slots=True)
class HeldPoll:
    """A poll that waits here; `gives_way` when the agent has opened too many."""

    gives_way: bool = False


class HeldPolls:
    """So many polls of an agent wait at the same time. One more, and the oldest is answered: a new window always works."""

    def __init__(self, inboxes: Inboxes, *, most: int) -> None:
        self._inboxes = inboxes
        self._most = most
        self._of_agent: dict[str, deque[HeldPoll]] = {}

    @contextmanager
    def one(self, agent_id: str, *, waits: bool) -> Iterator[HeldPoll]:
        """Hold a poll of the agent for the length of the block; one that does not wait takes nobody's place."""
        if not waits:
            yield HeldPoll()
            return
        polls = self._of_agent.setdefault(agent_id, deque())
        poll = HeldPoll()
        polls.append(poll)
        if len(polls) > self._most:
            polls.popleft().gives_way = True
            self._inboxes.wake(agent_id)
        try:
            yield poll
        finally:
            if not poll.gives_way:
                polls.remove(poll)
            if not polls and self._of_agent.get(agent_id) is polls:
                del self._of_agent[agent_id]


class AgentLimits:
    """The limits of each agent; for the numbers see the settings of the same names."""

    def __init__(self, inboxes: Inboxes, *, polls_max: int, sign_ins_per_min: int, changes_per_s: float) -> None:
        self._inboxes = inboxes
        self.polls = HeldPolls(inboxes, most=polls_max)
        per_s, burst = changes_per_s, max(1, round(changes_per_s * CHANGES_BURST_S))
        self._sign_ins = RequestRate(per_s=sign_ins_per_min / 60, burst=sign_ins_per_min)
        self._changes = RequestRate(per_s=per_s, burst=burst)
        self._commands = RequestRate(per_s=per_s, burst=burst)
        self._strays = RequestRate(per_s=STRAYS_PER_S, burst=STRAYS_BURST)

    def on_sign_in(self, agent: Judge[Principal]) -> Judge[Principal]:
        """A dependency: `agent`, who has not signed in too often."""
        return _limited(agent, self._sign_ins, "sign_in", "You sign in too often.")

    def on_change(self, agent: Judge[Principal]) -> Judge[Principal]:
        """A dependency: `agent`, who has not changed presence or line too often."""
        return _limited(agent, self._changes, "change", "You change your presence or line too often.")

    def on_command(self, agent: Judge[Principal]) -> Judge[Principal]:
        """A dependency: `agent`, who has not sent too many commands."""
        return _limited(agent, self._commands, "command", "You send too many commands.")

    def take_stray(self, agent_id: str, contact_id: str, attempt: int) -> None:
        """Count a command about an attempt that the agent does not have. Raises `ProblemRaised` when there were too many."""
        if (contact_id, attempt) not in {(item.contact_id, item.attempt) for item in self._inboxes.items(agent_id)}:
            _take(self._strays, agent_id, "stray", "You send too many commands about contacts that you do not have.")


def _limited(agent: Judge[Principal], rate: RequestRate, what: str, detail: str) -> Judge[Principal]:
    async def judge(request: Request) -> Principal:
        who = await agent(request)
        _take(rate, who.subject, what, detail)
        return who

    return Judge(judge)


def _take(rate: RequestRate, agent_id: str, what: str, detail: str) -> None:
    budget = rate.take(agent_id)
    if budget.wait_s:
        metrics.refused_often.labels(what).inc()
        raise ProblemRaised(TOO_OFTEN, detail, {"Retry-After": seconds(budget.wait_s)})
