"""Reporting's tables in memory: as strict as PostgreSQL's, and shared by all replicas of a test."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.contracts import agents, config, contacts
from common.testing.database import Later, MemoryServer, Positions
from reporting.domain import ContactRow, Folded, Segment
from reporting.ports import Step


@dataclass(slots=True, kw_only=True)
class Stay:
    """A row of `stay`."""

    fact: agents.AgentPicture
    ended_at_ms: int | None


class ReportingTables:
    """One database of reporting."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.contacts: dict[str, ContactRow] = {}
        self.segments: dict[tuple[str, int], Segment] = {}
        self.steps: dict[tuple[int, int | None], Step] = {}
        self.submissions: dict[str, contacts.ContactSubmitted] = {}
        self.queues: dict[str, config.QueueDefined] = {}
        self.stays: dict[str, list[Stay]] = {}
        self.positions = Positions()


class MemoryReadModels:
    """See `reporting.ports.ReadModels`."""

    def __init__(self, tables: ReportingTables, later: Later) -> None:
        self._tables, self._later = tables, later

    async def load(self, contact_ids: Sequence[str]) -> dict[str, Folded]:
        """See `reporting.ports.ReadModels`."""
        still_open = {one.contact_id: one for one in self._tables.segments.values() if one.ended_at_ms is None}
        found = {name: self._tables.contacts[name] for name in contact_ids if name in self._tables.contacts}
        return {name: Folded(contact=row, open=still_open.get(name)) for name, row in found.items()}

    async def write(self, *, folded: Sequence[Folded], closed: Sequence[Segment], steps: Sequence[Step]) -> None:
        """See `reporting.ports.ReadModels`."""
        self._later(lambda: self._write(folded, closed, steps))

    def _write(self, folded: Sequence[Folded], closed: Sequence[Segment], steps: Sequence[Step]) -> None:
        for step in steps:
            assert step[:2] not in self._tables.steps, f"step {step[:2]} is there already"
            self._tables.steps[step[0], step[1]] = step
        for one in folded:
            self._tables.contacts[one.contact.contact_id] = one.contact
        for segment in (*closed, *(one.open for one in folded if one.open is not None)):
            self._tables.segments[segment.contact_id, segment.no] = segment

    async def put_stay(self, fact: agents.AgentPicture) -> None:
        """See `reporting.ports.ReadModels`."""
        self._later(lambda: self._stay(fact))

    def _stay(self, fact: agents.AgentPicture) -> None:
        stays = self._tables.stays.setdefault(fact.agent_id, [])
        if stays and (stays[-1].fact.session_no, stays[-1].fact.seq) >= (fact.session_no, fact.seq):
            return
        for stay in stays:
            stay.ended_at_ms = fact.at_ms if stay.ended_at_ms is None else stay.ended_at_ms
        stays.append(Stay(fact=fact, ended_at_ms=fact.at_ms if fact.presence == "offline" else None))

    async def put_submission(self, fact: contacts.ContactSubmitted) -> None:
        """See `reporting.ports.ReadModels`."""
        self._later(lambda: self._submission(fact))

    def _submission(self, fact: contacts.ContactSubmitted) -> None:
        self._tables.submissions.setdefault(fact.contact_id, fact)

    async def put_queue(self, fact: config.QueueDefined) -> None:
        """See `reporting.ports.ReadModels`."""
        self._later(lambda: self._queue(fact))

    def _queue(self, fact: config.QueueDefined) -> None:
        known = self._tables.queues.get(fact.queue)
        if known is None or known.version < fact.version:
            self._tables.queues[fact.queue] = fact
