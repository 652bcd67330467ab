"""Scorers of an installation: functions of its own that say which agent suits a contact, within a budget of time."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import structlog

from router import metrics
from router.core import State
from router.core.model import events
from router.core.queries.explain import explain

log = structlog.get_logger()

Scorer = Callable[[dict[str, Any], list[dict[str, Any]]], dict[str, int]]
"""(contact, agents who could serve it) to scores by agent id; the highest is asked first. Runs in a thread."""
AGENTS_MAX = 200
ASKED_MAX = 64
"""Questions on their way in one shard; who comes when there are so many is offered without scores."""
THREADS_MAX = 8
"""In which scorers run, in the whole process; a question waits for a free one within its budget."""


def load(named: str) -> dict[str, Scorer]:
    """`name=module:function` pairs, separated by commas, as in the setting ROUTER_SCORERS."""
    found: dict[str, Scorer] = {}
    for pair in filter(None, (part.strip() for part in named.split(","))):
        name, _, place = pair.partition("=")
        module, _, function = place.partition(":")
        if not (name and module and function):
            raise ValueError(f"ROUTER_SCORERS: {pair!r} is not name=module:function")
        found[name] = getattr(import_module(module), function)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What one scorer is asked: a picture of the moment, so that nothing of it changes while the scorer thinks."""

    contact_id: str
    scorer: str
    budget_ms: int
    about: dict[str, Any]
    agents: list[dict[str, Any]]


def question(state: State, contact_id: str) -> Question | None:
    """The question about a contact; None when it is not there any more."""
    contact = state.contacts.get(contact_id)
    if contact is None:
        return None
    choice = state.queues[contact.queue_id].policy.choice
    able = [agent for agent, reason in explain(state, contact).agents if reason not in ("need", "queue_need")]
    return Question(
        contact_id=contact_id,
        scorer=choice.scorer,
        budget_ms=choice.budget_ms,
        about={
            "contact_id": contact_id,
            "queue": contact.queue_id,
            "channel": contact.channel,
            "customer": contact.customer,
        },
        agents=[
            {"agent_id": name, "skills": dict(state.agents[name].skills), "link_score": state.agents[name].link_score}
            for name in able[:AGENTS_MAX]
        ],
    )


async def ask_scorer(asked: Question, scorers: Mapping[str, Scorer]) -> events.ScoresGiven | None:
    """The scores, or None when there is no such scorer, it failed, or it took longer than its budget."""
    scorer = scorers.get(asked.scorer)
    if scorer is None:
        return None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(asked.budget_ms / 1_000):
            scores = await loop.run_in_executor(_threads(), scorer, asked.about, asked.agents)
        return events.ScoresGiven(
            contact_id=asked.contact_id, scores={str(name): int(score) for name, score in scores.items()}
        )
    except TimeoutError:
        return None
    except Exception as why:
        log.error("scorer_failed", scorer=asked.scorer, why=repr(why))
        return None


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads of the scorers' own: one that hangs keeps nobody but scorers waiting."""
    return ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="scorer")


class Asking:
    """Questions on their way, beside the loop that decides. Whose scorer is late is offered without scores."""

    def __init__(self, scorers: Mapping[str, Scorer]) -> None:
        self._scorers = scorers
        self.tasks: set[asyncio.Task[events.ScoresGiven | None]] = set()

    def begin(self, state: State) -> None:
        """Ask about every contact that wants scores; beyond `ASKED_MAX` questions on their way one counts as late."""
        wanted = list(state.to_score)
        state.to_score.clear()
        for contact_id in wanted:
            asked = self._question(state, contact_id) if len(self.tasks) < ASKED_MAX else None
            if asked is not None:
                self.tasks.add(asyncio.create_task(ask_scorer(asked, self._scorers)))
            else:
                metrics.scorer_late.inc()

    def _question(self, state: State, contact_id: str) -> Question | None:
        try:
            return question(state, contact_id)
        except Exception as why:  # the contact is offered without scores
            metrics.failures.labels(type(why).__name__).inc()
            log.exception("scorer_not_asked", contact_id=contact_id)
            return None

    def answers(self) -> list[events.ScoresGiven]:
        """What came since the last call."""
        done = {task for task in self.tasks if task.done()}
        self.tasks -= done
        found = [given for task in done if (given := task.result()) is not None]
        metrics.scorer_late.inc(len(done) - len(found))
        return sorted(found, key=lambda one: one.contact_id)

    def stop(self) -> None:
        """Nobody waits for the answers any more."""
        for task in self.tasks:
            task.cancel()
        self.tasks.clear()
