"""What agents do: sign in, be there, answer offers. One function a command."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from agent_presence import metrics
from agent_presence.domain import DONE, Command, Kept
from agent_presence.inboxes import Inboxes
from agent_presence.ports import Directory, Relay, Sessions
from common.runtime.batching import SharedCommit
from common.runtime.clock import monotonic_s
from common.runtime.failures import Retryable

log = structlog.get_logger()

SKILLS_READ_EVERY_S = 0.2
STORED_AGAIN_S = 0.1
"""A stored answer is looked for so often: it follows the router's fact by some milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What became of a command: `done`, one of the router's reasons, or None when the answer takes longer."""

    kept: Kept
    outcome: str | None


class KnownSkills:
    """Skills that exist, remembered: no skill is ever deleted, so only one that is not known is looked up."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._known: frozenset[str] = frozenset()
        self._read_at_s = -SKILLS_READ_EVERY_S
        self._reading = asyncio.Lock()

    async def among(self, skills: Collection[str]) -> frozenset[str]:
        """Those of `skills` that exist. Raises `Retryable`.

        A skill that was defined less than `SKILLS_READ_EVERY_S` ago may be missing: whoever asks for names that do not
        exist must not make us read the table for each request.
        """
        if not self._known.issuperset(skills):
            async with self._reading:
                if monotonic_s() - self._read_at_s >= SKILLS_READ_EVERY_S:
                    self._known = frozenset(await self._directory.skills())
                    self._read_at_s = monotonic_s()
        return self._known & frozenset(skills)


class Commands:
    """Keeps what agents ask for, tells the router, and waits for its answer within a bound."""

    def __init__(self, sessions: Sessions, *, inboxes: Inboxes, relay: Relay, answer_wait_s: float) -> None:
        self._sessions = sessions
        self._inboxes = inboxes
        self._relay = relay
        self._answer_wait_s = answer_wait_s
        self._keep: SharedCommit[Command, tuple[Kept, str | None]] = SharedCommit(
            self._keep_all, what="command", key=lambda command: (command.agent_id, command.command_id)
        )

    async def ask(self, command: Command) -> Answered:
        """Keep the command and wait for the answer; asked again, the same answer. Raises `Retryable`."""
        answered = await self._answer(command)
        refused = answered.kept in (Kept.SESSION_OVER, Kept.REUSED)
        outcome = answered.kept.value if refused else answered.outcome or "late"
        metrics.commands.labels(command.verb, outcome).inc()
        return answered

    async def _answer(self, command: Command) -> Answered:
        future = self._inboxes.expect_answer(command.agent_id, command.command_id)
        try:
            kept, outcome = await self._keep(command)
            if outcome is not None or kept in (Kept.SESSION_OVER, Kept.REUSED):
                return Answered(kept=kept, outcome=outcome)
            try:
                async with asyncio.timeout(self._answer_wait_s):
                    outcome = await future
                    if outcome != DONE:
                        outcome = await self._first_answer(command)
                    return Answered(kept=kept, outcome=outcome)
            except TimeoutError:
                return Answered(kept=kept, outcome=None)
        finally:
            self._inboxes.stop_expecting(command.agent_id, command.command_id, future)

    async def _first_answer(self, command: Command) -> str:
        """What is stored of a command that was asked before, once it is; the caller bounds the wait.

        The router may have done it and then refused its repetition, for an outbox sends at least once. A replica that started in
        between has read the refusal alone, but whoever stores answers has read both, and keeps the first.
        """
        while True:
            _, outcome = await self._keep(command)
            if outcome is not None:
                return outcome
            await asyncio.sleep(STORED_AGAIN_S)

    async def _keep_all(self, commands: Sequence[Command]) -> list[tuple[Kept, str | None]]:
        kept = await self._sessions.keep(commands)
        self._relay.hand_over([row for what, _, row in kept if what is Kept.FRESH])
        return [(what, outcome) for what, outcome, _ in kept]


class Sweeper:
    """Turns leases that ran out into facts.

    After a start, and after the database was away, it waits one lease: agents are suspect then, not lost, until they
    could have come back.
    """

    def __init__(self, sessions: Sessions, *, relay: Relay, lease_s: float, every_s: float) -> None:
        self._sessions = sessions
        self._relay = relay
        self._lease_s = lease_s
        self._every_s = every_s

    async def run(self) -> None:
        """Sweep until cancelled."""
        not_before = monotonic_s() + self._lease_s
        while True:
            await asyncio.sleep(self._every_s)
            try:
                if monotonic_s() < not_before:
                    continue
                rows = await self._sessions.expire()
            except Retryable as why:
                log.warning("lease_sweep_failed", why=str(why))
                not_before = monotonic_s() + self._lease_s
                continue
            self._relay.hand_over(rows)
            metrics.leases_expired.inc(len(rows))
            for row in rows:
                log.info("lease_expired", agent_id=row.key)
