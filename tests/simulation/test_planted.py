"""The simulation must be able to find something: each broken part below breaks one promise, and is found out."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agent_presence.domain import Command, Kept
from agent_presence.inboxes import Inboxes
from agent_presence.testing import CommandRow, MemorySessions
from common.contracts import agents
from common.runtime.bus import Incoming
from common.runtime.failures import Retryable
from common.runtime.outbox import OutboxRow
from common.testing.faults import through
from intake.domain import NewContact, Receipt, Refused
from intake.testing import MemoryContacts, MemoryRepeats
from router.core.index.waiting import wake_at
from router.core.model import decisions, events
from router.sharding.ports import Batch, LogLine, Reign
from router.sharding.worker import Heard, Shard
from router.testing import MemoryLedger, commit_batch
from tests.simulation.run import simulate
from tests.simulation.scenario import Scenario, restless
from tests.simulation.services import Parts


class ForgetsTheOutbox(MemoryContacts):
    """I1: some contacts are promised, and nothing says so to anybody."""

    async def accept(self, given: Sequence[tuple[NewContact, Receipt, str, OutboxRow]]) -> list[Receipt | Refused]:
        answers = await super().accept(given)
        for contact, receipt, *_ in given:
            if contact.idempotency_key.endswith("3"):
                self._tables.contacts.pop(receipt.contact_id, None)
                self._tables.outbox.rows = {
                    name: row for name, row in self._tables.outbox.rows.items() if row[0].key != receipt.contact_id
                }
        return answers


class ForgetsKeys(MemoryContacts):
    """I5: a repeated POST is a new contact."""

    async def accept(self, given: Sequence[tuple[NewContact, Receipt, str, OutboxRow]]) -> list[Receipt | Refused]:
        self._tables.keys.clear()
        return await super().accept(given)


class AnyLedger:
    """A ledger with some of it broken."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


class NoFence(AnyLedger):
    """I4: commits of a reign that is over count too; neither its session, nor epoch and sequence are looked at.

    Rows that no longer fit show it first: two writers disagree about one contact.
    """

    async def commit(self, reign: Reign, batch: Batch) -> None:
        tables = self._ledger._tables
        async with through(self._ledger._session.line, "commit"):
            lease = tables.leases[reign.shard]
            before, lease.epoch, lease.last_seq = (lease.epoch, lease.last_seq), reign.epoch, reign.last_seq
            try:
                commit_batch(tables, reign, batch)
            finally:
                lease.epoch, lease.last_seq = max(before[0], lease.epoch), max(before[1], lease.last_seq)
        reign.last_seq += len(batch.log)


class UnknownMeansDone(AnyLedger):
    """I7: a commit without an answer is taken for one that was done."""

    async def commit(self, reign: Reign, batch: Batch) -> None:
        try:
            await self._ledger.commit(reign, batch)
        except Retryable:
            reign.last_seq += len(batch.log)


class SkipsLines(AnyLedger):
    """I7: a new reign does not publish what the one before had committed and not published."""

    async def unpublished(self, reign: Reign, *, after_seq: int, lines_max: int) -> list[LogLine]:
        lines = await self._ledger.unpublished(reign, after_seq=after_seq, lines_max=lines_max)
        return lines[1:]


class PublishesFirst(Shard):
    """I6: decisions are published before they are committed."""

    async def _commit(self, decided: Any, records: Sequence[Incoming]) -> None:
        ledger = self._ledger
        self._ledger = _Early(ledger, self)
        try:
            await super()._commit(decided, records)
        finally:
            self._ledger = ledger


class _Early:
    def __init__(self, ledger: Any, shard: Shard) -> None:
        self._inner, self._shard = ledger, shard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, reign: Reign, batch: Batch) -> None:
        await self._shard._publisher.publish([self._shard._record(line) for line in batch.log])
        await self._inner.commit(reign, batch)


class IgnoresUnits(Shard):
    """I3: agents are told to the core with more capacity than they have."""

    async def _inputs(self, records: Sequence[Incoming]) -> list[Heard]:
        told = await super()._inputs(records)
        return [(record, _roomier(one) if isinstance(one, events.AgentSeen) else one) for record, one in told]


def _roomier(seen: events.AgentSeen) -> events.AgentSeen:
    values = {name: getattr(seen, name) for name in seen.__struct_fields__}
    return events.AgentSeen(**{**values, "units": seen.units + 6})


class AnybodyMayAnswer(Shard):
    """I8: whoever asks is taken for the agent who was asked."""

    async def _inputs(self, records: Sequence[Incoming]) -> list[Heard]:
        told = await super()._inputs(records)
        return [(record, self._as_holder(one) if isinstance(one, events.AgentAsked) else one) for record, one in told]

    def _as_holder(self, asked: events.AgentAsked) -> events.AgentAsked:
        contact = self._state.contacts.get(asked.contact_id)
        if contact is None or not contact.agent_id or contact.agent_id not in self._state.agents:
            return asked
        values = {name: getattr(asked, name) for name in asked.__struct_fields__}
        session_no = self._state.agents[contact.agent_id].session_no
        changed = {"agent_id": contact.agent_id, "attempt": contact.attempt, "session_no": session_no}
        return events.AgentAsked(**{**values, **changed})


class OffersToWhoIsGone(Shard):
    """I9: a session that ended is not heard of."""

    async def _inputs(self, records: Sequence[Incoming]) -> list[Heard]:
        kept = [one for one in records if not isinstance(one.fact, agents.SessionEnded | agents.PresenceChanged)]
        return await super()._inputs(kept)


class NeverWakes(Inboxes):
    """I9: a desktop that polls is not told that its inbox changed."""

    def changed(self, agent_id: str) -> Any:
        return asyncio.Event()


class OneVersion(Inboxes):
    """I9: places in different shards' logs are compared, so who moved to a shard with a shorter log sees nothing new."""

    def version(self, agent_id: str) -> dict[int, int]:
        return {0: max(super().version(agent_id).values(), default=0)}

    def is_behind(self, version: Mapping[int, int]) -> bool:
        return version.get(0, 0) > max(self._read.values(), default=0)


class HoldsTheQueue(Shard):
    """I11: who comes holds back all who wait for a scorer's answer in the same queue."""

    async def _decide(self, records: Sequence[Incoming]) -> Any:
        decided = await super()._decide(records)
        waiting = [one for one in self._state.contacts.values() if one.scores_due_ms is not None]
        latest: dict[str, int] = {}
        for one in waiting:
            latest[one.queue_id] = max(latest.get(one.queue_id, 0), one.scores_due_ms or 0)
        for one in waiting:
            one.scores_due_ms = latest[one.queue_id]
            wake_at(self._state, one, one.scores_due_ms)
        return decided


class AnswersDone(MemorySessions):
    """I8: a command that is repeated is told that it was done."""

    async def keep(self, commands: Sequence[Command]) -> list[tuple[Kept, str | None, OutboxRow]]:
        kept = await super().keep(commands)
        for command in commands:
            row: CommandRow | None = self._tables.commands.get((command.agent_id, command.command_id))
            if row is not None:
                row.outcome = "done"
        return [(what, "done" if what is Kept.REPEATED else outcome, row) for what, outcome, row in kept]


class AcceptsTwice(Shard):
    """I2: a contact is given away a second time."""

    async def _decide(self, records: Sequence[Incoming]) -> Any:
        decided = await super()._decide(records)
        return [*decided, *(one for one in decided if isinstance(one[0], decisions.Accepted))]


class StaysInItsFirstQueue(AnyLedger):
    """Counts by queue: a contact that moved on is counted where it came from."""

    async def commit(self, reign: Reign, batch: Batch) -> None:
        rows = self._ledger._tables.contacts
        first = {row.contact_id: rows[row.contact_id][1].queue_id for row in batch.contacts}
        await self._ledger.commit(reign, batch)
        for contact_id, queue_id in first.items():
            rows[contact_id] = (reign.shard, replace(rows[contact_id][1], queue_id=queue_id))


class DropsCallbacks(Shard):
    """I1: who asks for a callback while an offer is out is not heard."""

    async def _inputs(self, records: Sequence[Incoming]) -> list[Heard]:
        told = await super()._inputs(records)
        return [
            one for one in told if not (isinstance(one[1], events.CallbackAsked) and self._rings(one[1].contact_id))
        ]

    def _rings(self, contact_id: str) -> bool:
        contact = self._state.contacts.get(contact_id)
        return contact is not None and contact.state == "offered"


class RepeatsNothing(MemoryRepeats):
    """And nobody repeats what had no effect."""

    async def repeat(self, *, before_ms: int, now_ms: int) -> int:
        del before_ms, now_ms
        return 0


class BreaksOnOne(Shard):
    """A mistake of ours, about one contact, each time that it is read."""

    async def _inputs(self, records: Sequence[Incoming]) -> list[Heard]:
        told = await super()._inputs(records)
        for self._applied, one in told:
            assert getattr(one, "correlation", "") != "corr-key-4", "a mistake"
        return told


def rushed(scenario: Scenario) -> None:
    """Somebody comes all the time to a queue whose scorer never answers; everybody could serve them."""
    scenario.rushed = min(scenario.queues)
    choice = {"method": "scorer", "scorer": "never_in_time", "budget_ms": 1_000}
    scenario.queues[scenario.rushed] |= {"requirements": [], "policy": {"choice": choice}}


def as_drawn(scenario: Scenario) -> None:
    """As the seed has it."""


PLANTED: list[tuple[str, Parts, Callable[[Scenario], None]]] = [
    ("I1", Parts(contacts=ForgetsTheOutbox), as_drawn),
    ("I2", Parts(shard=AcceptsTwice), as_drawn),
    ("I3", Parts(shard=IgnoresUnits), as_drawn),
    ("memory_diverged", Parts(ledger=NoFence), as_drawn),
    ("I5", Parts(contacts=ForgetsKeys), as_drawn),
    ("I6", Parts(shard=PublishesFirst), as_drawn),
    ("I6", Parts(ledger=UnknownMeansDone), as_drawn),
    ("fact_refused", Parts(ledger=SkipsLines), as_drawn),
    ("I8", Parts(shard=AnybodyMayAnswer), as_drawn),
    ("I8", Parts(sessions=AnswersDone), as_drawn),
    ("I9", Parts(shard=OffersToWhoIsGone), as_drawn),
    ("I9", Parts(inboxes=NeverWakes), as_drawn),
    ("I9", Parts(inboxes=OneVersion), restless),
    ("I11", Parts(shard=HoldsTheQueue), rushed),
    ("counts", Parts(ledger=StaysInItsFirstQueue), as_drawn),
    ("callback", Parts(shard=DropsCallbacks, repeats=RepeatsNothing), as_drawn),
]
"""What is found, what breaks, and in what worlds: those in which it shows in one of four or more."""
SEEDS_MAX = 20
"""Worlds tried, at most. They change with the code's timing, so no plant may need a certain one."""


def _names(parts: Parts) -> str:
    broken = [getattr(parts, name) for name in Parts.__dataclass_fields__]
    return next(str(one.__name__) for one in broken if one.__module__ == __name__)


@pytest.mark.parametrize(("finding", "parts", "shape"), PLANTED, ids=[_names(parts) for _, parts, _ in PLANTED])
def test_a_planted_bug_is_found(finding: str, parts: Parts, shape: Callable[[Scenario], None]) -> None:
    tried = (simulate(seed, replace(parts), shape).findings for seed in range(1, 1 + SEEDS_MAX))

    assert any(finding in text for found in tried for text in found)


def test_a_mistake_about_one_record_stops_nobody_else() -> None:
    result = simulate(2, Parts(shard=BreaksOnOne))

    broken = next(note.about["contact_id"] for note in result.history if note.about.get("key") == "key-4")
    judged = [finding for finding in result.findings if finding.startswith(("I", "counts", "figures"))]
    assert judged and all(broken in finding for finding in judged)
