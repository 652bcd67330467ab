"""Signs of life: which sessions are alive, whose leases are renewed, and what happens when one is over."""

import asyncio
from binascii import crc32
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from agent_presence.domain import Session
from agent_presence.inboxes import Inboxes
from agent_presence.ports import SessionEnds, Sessions
from common.runtime.back_off import BackOff
from common.runtime.batching import SharedCommit
from common.runtime.clock import monotonic_s
from common.runtime.failures import Retryable, strays_as_trouble

log = structlog.get_logger()

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

KEEP_EVERY_S = 0.25
"""How often the leases of held polls are looked at: small beside a third of any lease that serves agents at home."""
UNHEARD_S = 1.0
"""How long a session is believed to be alive while its end would not be heard."""
LISTEN_AGAIN_S = 0.5
NEVER_S = float("-inf")


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Held:
    """A poll that waits here for its agent's inbox to change."""

    agent_id: str
    session_no: int
    renew_after_s: float
    is_gone: Callable[[], bool]


class Leases:
    """Signs of life, folded: one write a session in a third of the lease, many sessions in one statement.

    A request is a sign of life, and so is a poll for as long as it is held: `LeaseKeeper` renews its lease without waking it.
    What is remembered of a session is dropped as soon as its end is heard (see `EndWatch`). While nobody listens, it is
    remembered for `UNHEARD_S` only.
    """

    def __init__(self, sessions: Sessions, *, lease_s: float) -> None:
        self._sessions = sessions
        self._renew = SharedCommit(
            sessions.renew,
            what="lease",
            key=lambda given: given[0],
            batch_max=RENEWED_AT_ONCE,
            waiting_max=RENEWALS_WAITING_MAX,
        )
        self.renew_every_s = lease_s / 3
        self._alive: dict[str, tuple[int, float]] = {}
        self._held: dict[Held, None] = {}
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

    @contextmanager
    def held(self, agent_id: str, session_no: int, is_gone: Callable[[], bool]) -> Iterator[None]:
        """A poll of the session is held while the block runs."""
        one = Held(
            agent_id=agent_id, session_no=session_no, renew_after_s=self.renew_after_s(agent_id), is_gone=is_gone
        )
        self._held[one] = None
        try:
            yield
        finally:
            del self._held[one]

    async def renew_held(self, wake: Callable[[str], None]) -> None:
        """Renew the leases of held polls that are due. Raises `Retryable`.

        `wake` gets the agents one of whose polls is to look at itself: its caller has gone, its session is over, or its lease
        could not be renewed for too long.
        """
        now_s = monotonic_s()
        due: dict[str, int] = {}
        for one in self._held:
            if one.is_gone() or self.is_over(one.agent_id, one.session_no):
                wake(one.agent_id)
            elif now_s - self._seen_s(one) >= one.renew_after_s:
                due[one.agent_id] = max(one.session_no, due.get(one.agent_id, 0))
        listed = list(due.items())
        for start in range(0, len(listed), RENEWED_AT_ONCE):
            some = listed[start : start + RENEWED_AT_ONCE]
            try:
                answers = await self._sessions.renew(some)
            except Retryable:
                for one in self._held:
                    if now_s - self._seen_s(one) >= 2 * self.renew_every_s:
                        wake(one.agent_id)
                raise
            for (agent_id, session_no), is_on in zip(some, answers, strict=True):
                if not is_on:
                    self.over(agent_id, session_no)
                    wake(agent_id)
                elif not self.is_over(agent_id, session_no):
                    self._put(agent_id, session_no, monotonic_s())

    def _seen_s(self, one: Held) -> float:
        """When the lease of its session was renewed here last."""
        known_no, seen_s = self._alive.get(one.agent_id, (0, NEVER_S))
        return seen_s if known_no == one.session_no else NEVER_S

    def _put(self, agent_id: str, session_no: int, seen_s: float) -> None:
        if len(self._alive) >= REMEMBERED_MAX:
            self._alive.clear()
        self._alive[agent_id] = (session_no, seen_s)


class LeaseKeeper:
    """Renews the leases of held polls in time: thousands wait here, and none of them has to wake for it."""

    def __init__(self, leases: Leases, inboxes: Inboxes) -> None:
        self._leases = leases
        self._inboxes = inboxes

    async def run(self) -> None:
        """Renew until cancelled. While the database is away polls go on for two thirds of the lease, then they are told."""
        back_off = BackOff(KEEP_EVERY_S)
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            try:
                with strays_as_trouble():
                    await self._leases.renew_held(self._inboxes.wake)
            except Retryable as why:
                log.warning("leases_not_renewed", why=str(why))
                await back_off.pause()


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
