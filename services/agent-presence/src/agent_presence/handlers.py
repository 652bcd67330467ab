"""What agents do: sign in, be there, answer offers. One function a command."""

import asyncio
from binascii import crc32
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from agent_presence import metrics
from agent_presence.domain import DONE, Command, Kept, Session
from agent_presence.inboxes import Inboxes
from agent_presence.ports import Directory, Relay, SessionEnds, Sessions
from common.runtime.back_off import BackOff
from common.runtime.batching import SharedCommit
from common.runtime.clock import monotonic_s
from common.runtime.failures import Retryable, strays_as_trouble

log = structlog.get_logger()

SKILLS_READ_EVERY_S = 0.2
STORED_AGAIN_S = 0.1
"""A stored answer is looked for so often: it follows the router's fact by some milliseconds."""
REMEMBERED_MAX = 50_000
"""Sessions that this replica remembers as alive; beyond it all are forgotten and asked for again."""

RENEWED_AT_ONCE = 500
"""Leases that one statement renews: polls that began together end together."""
RENEWALS_WAITING_MAX = 20_000
"""Renewals that may wait for a statement, more than connections that a replica takes; one more is `Retryable` at once."""
SPREAD = 0.3
SPREAD_STEPS = 10
"""The part of the time between two renewals by which agents differ, and in how many steps: those who came together do not stay
together all at once, and those of a step still share a statement."""

UNHEARD_S = 1.0
"""How long a session is believed to be alive while its end would not be heard."""
LISTEN_AGAIN_S = 0.5
NEVER_S = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What became of a command: `done`, one of the router's reasons, or None when the answer takes longer."""

    kept: Kept
    outcome: str | None


class Leases:
    """Signs of life, folded: one write a session in a third of the lease, many sessions in one statement.

    What is remembered of a session is dropped as soon as its end is heard (see `EndWatch`). While nobody listens, it is
    remembered for `UNHEARD_S` only.
    """

    def __init__(self, sessions: Sessions, *, lease_s: float) -> None:
        self._renew = SharedCommit(
            sessions.renew,
            what="lease",
            key=lambda given: given[0],
            batch_max=RENEWED_AT_ONCE,
            waiting_max=RENEWALS_WAITING_MAX,
        )
        self.renew_every_s = lease_s / 3
        self._alive: dict[str, tuple[int, float]] = {}
        self._listens = False

    def signed_in(self, session: Session) -> None:
        """From now on only this session of the agent counts here."""
        self._put(session.agent_id, session.session_no, monotonic_s())

    def over(self, agent_id: str, session_no: int) -> None:
        """Sessions of the agent up to this number are over."""
        known = self._alive.get(agent_id)
        if known is None or known[0] <= session_no:
            self._put(agent_id, session_no + 1, NEVER_S)

    def is_over(self, agent_id: str, session_no: int) -> bool:
        """Whether the session is known to be over; what is not known here is not over."""
        return session_no < self._alive.get(agent_id, (0, 0.0))[0]

    def listen(self, listens: bool) -> None:
        """From now on ends of sessions are heard, or no longer. What was remembered before may have ended unheard."""
        self._listens = listens
        if listens:
            self._alive.clear()

    def renew_after_s(self, agent_id: str) -> float:
        """How long after a renewal the agent's lease is renewed again: a third of the lease at most."""
        return self.renew_every_s * (1 - SPREAD * (crc32(agent_id.encode()) % SPREAD_STEPS) / SPREAD_STEPS)

    async def is_alive(self, agent_id: str, session_no: int) -> bool:
        """Whether the session is the agent's present one; a yes renews its lease, or it is young enough for the next time.

        Raises `Retryable` when that cannot be said: after two thirds of the lease, or where ends are not heard at once.
        """
        if self.is_over(agent_id, session_no):
            return False
        known_no, seen_s = self._alive.get(agent_id, (0, NEVER_S))
        renew_after_s = self.renew_after_s(agent_id)
        remembered_s = renew_after_s if self._listens else min(UNHEARD_S, renew_after_s)
        if session_no == known_no and monotonic_s() - seen_s < remembered_s:
            return True
        try:
            is_on = await self._renew((agent_id, session_no))
        except Retryable:
            can_wait = self._listens and monotonic_s() - seen_s < 2 * self.renew_every_s
            if session_no != known_no or not can_wait or self.is_over(agent_id, session_no):
                raise
            return True
        if not is_on:
            return False
        if self.is_over(agent_id, session_no):  # its end was heard while we asked
            return False
        self._put(agent_id, session_no, monotonic_s())
        return True

    def _put(self, agent_id: str, session_no: int, seen_s: float) -> None:
        if len(self._alive) >= REMEMBERED_MAX:
            self._alive.clear()
        self._alive[agent_id] = (session_no, seen_s)


class EndWatch:
    """Tells this replica of every session that ended, whichever replica ended it, so that it answers 409 from then on."""

    def __init__(self, ends: SessionEnds, *, leases: Leases, inboxes: Inboxes) -> None:
        self._ends = ends
        self._leases = leases
        self._inboxes = inboxes

    async def run(self) -> None:
        """Listen until cancelled. When the connection breaks, sessions are asked for oftener until it is back."""
        back_off = BackOff(LISTEN_AGAIN_S)
        while True:
            try:
                with strays_as_trouble():
                    await self._ends.listen(listening=lambda: self._leases.listen(True), over=self._over)
            except Retryable as why:
                log.warning("session_ends_unheard", why=str(why))
            self._leases.listen(False)
            await back_off.pause()

    def _over(self, agent_id: str, session_no: int) -> None:
        self._leases.over(agent_id, session_no)
        self._inboxes.wake(agent_id)


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
