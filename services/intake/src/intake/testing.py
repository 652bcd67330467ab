"""Intake's tables in memory: as strict as PostgreSQL's, and shared by all replicas of a test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from common.contracts.config import QueueDefined
from common.runtime.outbox import OutboxRow
from common.testing.database import Later, MemoryServer, OutboxRows, Positions
from common.testing.faults import Line, through
from intake.domain import (
    OVER,
    PAUSE_MAX_MS,
    READERS,
    WAITING,
    WITH_AGENT,
    KnownSession,
    NewContact,
    Receipt,
    Refusal,
    Refused,
    Standing,
    session_fits,
    session_is_over,
)
from intake.translate import callback, cancellation, submission

LEAVING = frozenset({"accepted", "scheduled", "queued", "offered", "assigned", "paused", "link_lost"})
"""States in which a cancellation may still have an effect, now or later."""
REPEATED_MAX = 500


@dataclass(slots=True, kw_only=True)
class Row:
    """A row of `contact`, with what PostgreSQL keeps beside it."""

    posted: NewContact
    receipt: Receipt
    pool: str
    state: str = "accepted"
    state_at_ms: int = 0
    attempt: int = 0
    agent_id: str = ""
    present_queue: str = ""
    cancel_reason: str | None = None
    cancel_at_ms: int | None = None
    callback_asked_ms: int | None = None
    callback_not_before_ms: int | None = None
    callback_granted_ms: int = 0
    repeated_at_ms: int = 0


class IntakeTables:
    """One database of intake."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.keys: dict[tuple[str, str], str] = {}
        self.contacts: dict[str, Row] = {}
        self.queues: dict[str, QueueDefined] = {}
        self.skills: set[str] = set()
        self.sessions: dict[str, KnownSession] = {}
        self.reads: list[tuple[str, str, int | None]] = []
        self.outbox = OutboxRows(server)
        self.positions = Positions()


class MemoryContacts:
    """See `intake.ports.Contacts`."""

    def __init__(self, tables: IntakeTables, line: Line) -> None:
        self._tables, self._line = tables, line

    async def accept(self, given: Sequence[tuple[NewContact, Receipt, str, OutboxRow]]) -> list[Receipt | Refused]:
        """See `intake.ports.Contacts`."""
        async with through(self._line, "accept"):
            return [self._accept(*one) for one in given]

    def _accept(self, contact: NewContact, receipt: Receipt, pool: str, row: OutboxRow) -> Receipt | Refused:
        key = (contact.client_id, contact.idempotency_key)
        known = self._tables.keys.get(key)
        if known is not None:
            first = self._tables.contacts[known]
            if first.posted.body_hash != contact.body_hash:
                return Refused(reason=Refusal.KEY_REUSED, detail="The key belongs to a POST with another body.")
            values = {name: getattr(first.receipt, name) for name in Receipt.__dataclass_fields__}
            return Receipt(**{**values, "replayed": True})
        self._tables.keys[key] = receipt.contact_id
        self._tables.contacts[receipt.contact_id] = Row(
            posted=contact, receipt=receipt, pool=pool, state_at_ms=receipt.accepted_at_ms
        )
        self._tables.outbox.add([row])
        return receipt

    async def cancel(self, *, contact_id: str, client_id: str, reason: str, at_ms: int) -> OutboxRow | Refused | None:
        """See `intake.ports.Contacts`."""
        async with through(self._line, "cancel"):
            found = self._mine(contact_id, client_id)
            if isinstance(found, Refused):
                return found
            if found.cancel_at_ms is not None:
                return None
            found.cancel_reason, found.cancel_at_ms, found.repeated_at_ms = reason, at_ms, at_ms
            row = cancellation(
                contact_id=contact_id,
                pool=found.pool,
                reason=reason,
                at_ms=at_ms,
                correlation_id=found.posted.correlation_id,
            )
            self._tables.outbox.add([row])
            return row

    async def call_back(
        self, *, contact_id: str, client_id: str, not_before_ms: int | None, at_ms: int
    ) -> OutboxRow | Refused:
        """See `intake.ports.Contacts`."""
        async with through(self._line, "call back"):
            found = self._mine(contact_id, client_id)
            if isinstance(found, Refused):
                return found
            if found.state in WITH_AGENT:
                return Refused(reason=Refusal.WITH_AGENT, detail=f"The contact is in state {found.state}.")
            found.callback_asked_ms = max(at_ms, (found.callback_asked_ms or 0) + 1)
            found.callback_not_before_ms = not_before_ms
            found.repeated_at_ms = max(found.repeated_at_ms, found.callback_asked_ms)
            row = _wish(found)
            self._tables.outbox.add([row])
            return row

    def _mine(self, contact_id: str, client_id: str) -> Row | Refused:
        found = self._tables.contacts.get(contact_id)
        if found is None or found.posted.client_id != client_id:
            return Refused(reason=Refusal.NOT_FOUND, detail="There is no such contact of yours.")
        if found.state in OVER:
            return Refused(reason=Refusal.CONTACT_OVER, detail=f"The contact is in state {found.state}.")
        return found

    async def last_agent(self, *, client_id: str, customer: str) -> str:
        """See `intake.ports.Contacts`."""
        async with through(self._line, "last agent"):
            found = [
                row
                for row in self._tables.contacts.values()
                if row.posted.client_id == client_id
                and row.posted.wishes.customer == customer
                and row.state in ("wrap_up", "completed")
                and row.agent_id
            ]
            return max(found, key=lambda row: row.state_at_ms).agent_id if found else ""

    async def get(self, *, contact_id: str, client_id: str) -> dict[str, Any] | None:
        """See `intake.ports.Contacts`."""
        async with through(self._line, "get contact"):
            found = self._tables.contacts.get(contact_id)
            return None if found is None or found.posted.client_id != client_id else _public(found)

    async def page(self, *, client_id: str, before: str, limit: int) -> list[dict[str, Any]]:
        """See `intake.ports.Contacts`."""
        async with through(self._line, "page of contacts"):
            rows = sorted(self._tables.contacts.items(), reverse=True)
            return [_public(row) for name, row in rows if row.posted.client_id == client_id and name < before][:limit]

    async def count_waiting(self, *, client_id: str, most: int) -> int:
        """See `intake.ports.Contacts`."""
        async with through(self._line, "count waiting"):
            rows = self._tables.contacts.values()
            return min(most, sum(row.posted.client_id == client_id and row.state in WAITING for row in rows))

    async def is_known(self, *, client_id: str, idempotency_key: str) -> bool:
        """See `intake.ports.Contacts`."""
        async with through(self._line, "is known"):
            return (client_id, idempotency_key) in self._tables.keys

    async def note_read(self, *, contact_id: str, agent_id: str, session_no: int | None) -> None:
        """See `intake.ports.Contacts`."""
        async with through(self._line, "note read"):
            self._tables.reads.append((agent_id, contact_id, session_no))

    async def customer(
        self, *, contact_id: str, agent_id: str, session_no: int | None
    ) -> dict[str, Any] | Refused | None:
        """See `intake.ports.Contacts`."""
        async with through(self._line, "customer"):
            fits = session_fits(self._tables.sessions.get(agent_id), session_no=session_no)
            if fits is False:
                return Refused(reason=Refusal.SESSION_OVER, detail=session_is_over(session_no))
            found = self._tables.contacts.get(contact_id)
            if not fits or found is None or found.agent_id != agent_id or found.state not in READERS:
                return None
            return msgspec.json.decode(found.posted.customer or "{}", type=dict[str, Any])


def _public(row: Row) -> dict[str, Any]:
    receipt = row.receipt
    return {
        "contact_id": receipt.contact_id,
        "queue": row.present_queue or receipt.queue,
        "channel": receipt.channel,
        "priority": receipt.priority,
        "external_id": row.posted.external_id,
        "accepted_at_ms": receipt.accepted_at_ms,
        "state": row.state,
        "state_at_ms": row.state_at_ms,
        "attempt": row.attempt,
        "cancel_reason": row.cancel_reason,
    }


class MemoryCatalogue:
    """See `intake.ports.Catalogue`."""

    def __init__(self, tables: IntakeTables, line: Line) -> None:
        self._tables, self._line = tables, line

    async def queue(self, queue_id: str) -> tuple[str, int] | None:
        """See `intake.ports.Catalogue`."""
        async with through(self._line, "queue"):
            found = self._tables.queues.get(queue_id)
            return None if found is None else (found.pool, found.priority)

    async def missing_skills(self, skills: Sequence[str]) -> list[str]:
        """See `intake.ports.Catalogue`."""
        async with through(self._line, "skills"):
            return sorted(set(skills) - self._tables.skills)


class MemoryProjections:
    """See `intake.ports.Projections`."""

    def __init__(self, tables: IntakeTables, later: Later) -> None:
        self._tables, self._later = tables, later

    async def know_queue(self, fact: QueueDefined) -> None:
        """See `intake.ports.Projections`."""
        self._later(lambda: self._know(fact))

    def _know(self, fact: QueueDefined) -> None:
        known = self._tables.queues.get(fact.queue)
        if known is None or known.version < fact.version:
            self._tables.queues[fact.queue] = fact

    async def know_skill(self, skill: str) -> None:
        """See `intake.ports.Projections`."""
        self._later(lambda: self._tables.skills.add(skill))

    async def know_sessions(self, sessions: Mapping[str, KnownSession]) -> None:
        """See `intake.ports.Projections`."""
        self._later(lambda: self._sessions(sessions))

    def _sessions(self, sessions: Mapping[str, KnownSession]) -> None:
        for agent_id, one in sessions.items():
            known = self._tables.sessions.get(agent_id)
            if known is None or known.session_no <= one.session_no:
                self._tables.sessions[agent_id] = one

    async def move_contacts(self, standings: Mapping[str, Standing]) -> None:
        """See `intake.ports.Projections`."""
        self._later(lambda: self._move(standings))

    def _move(self, standings: Mapping[str, Standing]) -> None:
        for contact_id, one in standings.items():
            row = self._tables.contacts.get(contact_id)
            if row is not None:
                row.state, row.state_at_ms = one.state, one.at_ms
                row.agent_id, row.present_queue = one.agent_id, one.queue
                row.attempt = max(row.attempt, one.attempt)

    async def grant_callbacks(self, granted: Mapping[str, int]) -> None:
        """See `intake.ports.Projections`."""
        self._later(lambda: self._grant(granted))

    def _grant(self, granted: Mapping[str, int]) -> None:
        for contact_id, asked_ms in granted.items():
            row = self._tables.contacts.get(contact_id)
            if row is not None:
                row.callback_granted_ms = max(row.callback_granted_ms, asked_ms)


class MemoryRepeats:
    """See `intake.ports.Repeats`."""

    def __init__(self, tables: IntakeTables, line: Line) -> None:
        self._tables, self._line = tables, line

    async def repeat(self, *, before_ms: int, now_ms: int) -> int:
        """See `intake.ports.Repeats`."""
        async with through(self._line, "repeat"):
            old = [row for name, row in self._tables.contacts.items() if not self._tables.outbox.speaks_of(name)]

            def is_time(row: Row, asked_ms: int) -> bool:
                waited_ms = min(max(row.repeated_at_ms - asked_ms, 0), PAUSE_MAX_MS)
                return asked_ms < before_ms and row.repeated_at_ms < before_ms - waited_ms

            lost = [row for row in old if row.state == "accepted" and is_time(row, row.receipt.accepted_at_ms)]
            wishing = [
                row
                for row in old
                if row.state in WAITING
                and row.callback_granted_ms < (row.callback_asked_ms or 0)
                and is_time(row, row.callback_asked_ms or 0)
            ]
            leaving = [
                row
                for row in old
                if row.state in LEAVING and row.cancel_at_ms is not None and is_time(row, row.cancel_at_ms)
            ]
            facts = [_resubmission(row) for row in lost[:REPEATED_MAX]]
            facts += [_wish(row) for row in wishing[:REPEATED_MAX]]
            facts += [_cancellation(row, now_ms) for row in leaving[:REPEATED_MAX]]
            for row in (*lost[:REPEATED_MAX], *wishing[:REPEATED_MAX], *leaving[:REPEATED_MAX]):
                row.repeated_at_ms = now_ms
            self._tables.outbox.add(facts)
            return len(facts)


def _resubmission(row: Row) -> OutboxRow:
    return submission(
        row.receipt,
        pool=row.pool,
        requirements=row.posted.requirements,
        correlation_id=row.posted.correlation_id,
        wishes=row.posted.wishes,
    )


def _wish(row: Row) -> OutboxRow:
    return callback(
        contact_id=row.receipt.contact_id,
        pool=row.pool,
        not_before_ms=row.callback_not_before_ms,
        at_ms=row.callback_asked_ms or 0,
        correlation_id=row.posted.correlation_id,
    )


def _cancellation(row: Row, now_ms: int) -> OutboxRow:
    return cancellation(
        contact_id=row.receipt.contact_id,
        pool=row.pool,
        reason=row.cancel_reason or "",
        at_ms=now_ms,
        correlation_id=row.posted.correlation_id,
    )
