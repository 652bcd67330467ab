"""The router's tables in memory: as strict as PostgreSQL's, and shared by all replicas of a test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec

from common.contracts.config import QueueDefined
from common.contracts.contacts import Requirement
from common.contracts.policies import QueuePolicy
from common.contracts.topics import CONFIG, SHARDS, shard_of
from common.runtime.bus import Incoming, Place
from common.runtime.clock import Clock
from common.runtime.outbox import OutboxRow, outbox_row
from common.testing.database import Later, MemoryServer, MemorySession, OutboxRows, Positions
from common.testing.faults import Line, through
from router.core.index.state import ENDED_REMEMBERED_MS, State
from router.core.model.queue import Queue
from router.policies.ports import Judge, nothing_against
from router.policies.validation import Fault
from router.sharding.assignment import Lease
from router.sharding.ports import Assigned, Batch, ContactRow, Diverged, Fenced, LogLine, Reign
from router.sharding.rebuilding import rebuild
from router.translate import queue_from

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(slots=True, kw_only=True)
class LeaseRow:
    """A row of `shard_lease`."""

    epoch: int = 0
    owner: str = ""
    renew_counter: int = 0
    last_seq: int = 0
    published_seq: int = 0
    offsets: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class InstanceRow:
    """A row of `router_instance`."""

    renew_counter: int = 0
    draining: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitUse:
    """A row of `unit_use`: who takes a unit, and why beyond the agent's capacity, if so."""

    shard: int
    contact_id: str
    attempt: int
    over: str


class RouterTables:
    """One database of the router. `shards`: those that are used; `on_commit` is told of each batch and its input offsets."""

    def __init__(
        self,
        server: MemoryServer,
        *,
        shards: Sequence[int] = range(SHARDS),
        on_commit: Callable[[Reign, Batch], None] = lambda _reign, _batch: None,
    ) -> None:
        self.server = server
        self.on_commit = on_commit
        self.queues: dict[str, QueueDefined] = {}
        self.skills: set[str] = set()
        self.leases = {number: LeaseRow() for number in shards}
        self.instances: dict[str, InstanceRow] = {}
        self.log: dict[int, list[LogLine]] = {number: [] for number in shards}
        self.contacts: dict[str, tuple[int, ContactRow]] = {}
        self.agents: dict[tuple[int, str], str] = {}
        self.agent_units: dict[tuple[int, str, int], None] = {}
        self.assignments: dict[tuple[str, int], Assigned] = {}
        self.unit_use: dict[tuple[str, int], UnitUse] = {}
        self.outbox = OutboxRows(server)
        self.positions = Positions()


class _Transaction:
    """Writes that are taken back when one of them does not fit."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def put(self, table: dict[Key, Value], key: Key, value: Value) -> None:
        if key in table:
            before = table[key]
            self._undo.append(lambda: table.__setitem__(key, before))
        else:
            self._undo.append(lambda: table.__delitem__(key))
        table[key] = value

    def insert(self, table: dict[Key, Value], key: Key, value: Value, what: str) -> None:
        if key in table:
            raise Diverged(f"{what} {key} is there already")
        self.put(table, key, value)

    def delete(self, table: dict[Key, Value], key: Key) -> None:
        if key in table:
            before = table.pop(key)
            self._undo.append(lambda: table.__setitem__(key, before))

    def roll_back(self) -> None:
        for undo in reversed(self._undo):
            undo()


def commit_batch(tables: RouterTables, reign: Reign, batch: Batch) -> None:
    """What the function of that name in PostgreSQL does: all of the batch, or `Fenced` or `Diverged` and nothing."""
    lease = tables.leases[reign.shard]
    if (lease.epoch, lease.last_seq) != (reign.epoch, reign.last_seq):
        raise Fenced(f"shard {reign.shard} is no longer at epoch {reign.epoch}, sequence {reign.last_seq}")
    transaction = _Transaction()
    try:
        _write_contacts(tables, transaction, reign.shard, batch)
        _write_agents(tables, transaction, reign.shard, batch)
        _write_assignments(tables, transaction, reign.shard, batch)
        _cut_capacities(tables, transaction, reign.shard, batch)
    except Diverged:
        transaction.roll_back()
        raise
    lease.last_seq += len(batch.log)
    lease.renew_counter += 1
    lease.offsets = {f"{place.topic}/{place.partition}": at for place, at in reign.offsets.items()}
    lease.published_seq = max(lease.published_seq, reign.published_seq)
    tables.log[reign.shard].extend(batch.log)
    tables.on_commit(reign, batch)


def _write_contacts(tables: RouterTables, transaction: _Transaction, shard: int, batch: Batch) -> None:
    for row in batch.new_contacts:
        transaction.insert(tables.contacts, row.contact_id, (shard, row), "contact")
    for row in batch.contacts:
        found = tables.contacts.get(row.contact_id)
        if found is None or found[0] != shard or found[1].ended_at_ms is not None:
            raise Diverged(f"contact {row.contact_id} is not live here")
        transaction.put(tables.contacts, row.contact_id, (shard, row))


def _write_agents(tables: RouterTables, transaction: _Transaction, shard: int, batch: Batch) -> None:
    for agent_id, doc in batch.agents:
        transaction.put(tables.agents, (shard, agent_id), doc)
    for one in batch.capacities:
        for number in range(1, max(one.units, one.most) + 1):
            transaction.put(tables.agent_units, (shard, one.agent_id, number), None)


def _cut_capacities(tables: RouterTables, transaction: _Transaction, shard: int, batch: Batch) -> None:
    """What is taken beyond a capacity that was lowered stays taken, and says so."""
    for one in batch.capacities:
        for (agent_id, number), use in list(tables.unit_use.items()):
            if agent_id == one.agent_id and use.shard == shard and number > one.units and not use.over:
                transaction.put(tables.unit_use, (agent_id, number), replace(use, over="cut"))
        for key in list(tables.agent_units):
            if key[:2] == (shard, one.agent_id) and key[2] > one.units:
                transaction.delete(tables.agent_units, key)


def _write_assignments(tables: RouterTables, transaction: _Transaction, shard: int, batch: Batch) -> None:
    for contact_id, attempt, at_ms in batch.released:
        row = tables.assignments.get((contact_id, attempt))
        if row is None or row.released_at_ms is not None:
            raise Diverged(f"assignment {contact_id}/{attempt} is not live")
        transaction.put(tables.assignments, (contact_id, attempt), _replaced(row, released_at_ms=at_ms))
        _free(tables, transaction, contact_id, attempt)
    for contact_id, attempt in batch.accepted:
        row = tables.assignments.get((contact_id, attempt))
        if row is None or row.released_at_ms is not None or row.accepted:
            raise Diverged(f"offer {contact_id}/{attempt} is not open")
        _only_one(tables, contact_id)
        transaction.put(tables.assignments, (contact_id, attempt), _replaced(row, accepted=True))
    for one in batch.units:
        _free(tables, transaction, one.contact_id, one.attempt)
    for one in batch.assigned:
        if one.accepted and one.released_at_ms is None:
            _only_one(tables, one.contact_id)
        transaction.insert(tables.assignments, (one.contact_id, one.attempt), one, "assignment")
    for one in (*batch.assigned, *batch.units):
        for number in one.units:
            over = one.over if number > one.capacity else ""
            if not over and (shard, one.agent_id, number) not in tables.agent_units:
                raise Diverged(f"{one.agent_id} has no unit {number}")
            use = UnitUse(shard=shard, contact_id=one.contact_id, attempt=one.attempt, over=over)
            transaction.insert(tables.unit_use, (one.agent_id, number), use, "unit")


def _only_one(tables: RouterTables, contact_id: str) -> None:
    """The partial unique index: one live assignment that was accepted."""
    for (name, attempt), row in tables.assignments.items():
        if name == contact_id and row.accepted and row.released_at_ms is None:
            raise Diverged(f"{contact_id} is held already, by attempt {attempt}")


def _free(tables: RouterTables, transaction: _Transaction, contact_id: str, attempt: int) -> None:
    for key in [key for key, use in tables.unit_use.items() if (use.contact_id, use.attempt) == (contact_id, attempt)]:
        transaction.delete(tables.unit_use, key)


def _replaced(row: Assigned, **changes: Any) -> Assigned:
    values = {name: getattr(row, name) for name in Assigned.__dataclass_fields__}
    return Assigned(**{**values, **changes})


class MemoryLedger:
    """See `router.sharding.ports.Ledger`."""

    def __init__(self, tables: RouterTables, session: MemorySession, shard: int) -> None:
        self._tables = tables
        self._session = session
        self._shard = shard

    async def rebuild(self, *, now_ms: int, got_on: Callable[[], None] = lambda: None) -> State:
        """The core's state as it was last committed."""
        async with self._session.call("rebuild"):
            live = {name: row for name, (shard, row) in self._tables.contacts.items() if shard == self._shard}
            queues = [queue_from(one) for one in self._tables.queues.values() if shard_of(one.pool) == self._shard]
            docs = {name: doc for (shard, name), doc in self._tables.agents.items() if shard == self._shard}
            elsewhere = self._elsewhere(list(docs))
        ended = sorted(
            (row.ended_at_ms, name)
            for name, row in live.items()
            if row.ended_at_ms is not None and row.ended_at_ms > now_ms - ENDED_REMEMBERED_MS
        )
        return await rebuild(
            queues=queues,
            agents=list(docs.values()),
            contacts=[row.doc for _, row in sorted(live.items()) if row.ended_at_ms is None],
            ended={name: at_ms for at_ms, name in ended},
            now_ms=now_ms,
            elsewhere=elsewhere,
            got_on=got_on,
        )

    async def commit(self, reign: Reign, batch: Batch) -> None:
        """See `router.sharding.ports.Ledger`."""
        async with self._session.call("commit"):
            commit_batch(self._tables, reign, batch)
        reign.last_seq += len(batch.log)

    async def queue(self, queue_id: str) -> Queue | None:
        """A queue that the core does not know yet."""
        async with self._session.call("queue"):
            found = self._tables.queues.get(queue_id)
        return None if found is None else queue_from(found)

    async def known(self, contact_ids: Sequence[str]) -> set[str]:
        """Those of the contacts that this router took in before, live or ended."""
        async with self._session.call("known"):
            return {name for name in contact_ids if name in self._tables.contacts}

    async def elsewhere(self, agent_ids: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Units that contacts of other shards take of these agents; who has none such is left out."""
        async with self._session.call("elsewhere"):
            return self._elsewhere(agent_ids)

    def _elsewhere(self, agent_ids: Sequence[str]) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for (agent_id, number), use in sorted(self._tables.unit_use.items(), key=lambda one: one[0]):
            if agent_id in agent_ids and use.shard != self._shard:
                found[agent_id] = (*found.get(agent_id, ()), number)
        return found

    async def unpublished(self, reign: Reign, *, after_seq: int, lines_max: int) -> list[LogLine]:
        """Committed lines after `after_seq`, oldest first."""
        async with self._session.call("unpublished"):
            return self._tables.log[reign.shard][after_seq : after_seq + lines_max]

    async def park(self, record: Incoming) -> None:
        """Put aside what cannot be read; the partition goes on."""
        async with self._session.call("park"):
            self._tables.positions.park(record)

    async def close(self) -> None:
        """Give the lock back by ending the session."""
        self._session.end()


async def take(
    tables: RouterTables, line: Line, *, shard: int, owner: str, topics: Sequence[str]
) -> tuple[MemoryLedger, Reign] | None:
    """Begin a new reign over the shard; None when another session holds its lock."""
    async with through(line, "open ledger"):
        session = tables.server.session(line)
    async with session.call("take shard"):
        if not session.lock(("shard", shard)):
            session.end()
            return None
        lease = tables.leases[shard]
        lease.epoch += 1
        lease.owner = owner
        lease.renew_counter += 1
        reign = Reign(
            shard=shard,
            epoch=lease.epoch,
            last_seq=lease.last_seq,
            published_seq=lease.published_seq,
            offsets={Place(topic=name, partition=shard): lease.offsets.get(f"{name}/{shard}", 0) for name in topics},
        )
    return MemoryLedger(tables, session, shard), reign


class MemoryLeases:
    """See `router.sharding.ports.Leases`."""

    def __init__(self, tables: RouterTables, line: Line, *, me: str) -> None:
        self._tables, self._line, self._me = tables, line, me

    async def look(self) -> tuple[list[Lease], dict[str, int], set[str]]:
        """See `router.sharding.ports.Leases`."""
        async with through(self._line, "look at leases"):
            leases = [
                Lease(
                    shard=shard,
                    owner=row.owner,
                    renew_counter=row.renew_counter,
                    locked=self._tables.server.holder(("shard", shard)) is not None,
                )
                for shard, row in self._tables.leases.items()
            ]
            instances = self._tables.instances
            draining = {name for name, row in instances.items() if row.draining}
            return leases, {name: row.renew_counter for name, row in instances.items()}, draining

    async def renew(self, epochs: dict[int, int]) -> set[int]:
        """See `router.sharding.ports.Leases`."""
        async with through(self._line, "renew"):
            self._tables.instances.setdefault(self._me, InstanceRow()).renew_counter += 1
            mine = {shard for shard, epoch in epochs.items() if self._tables.leases[shard].epoch == epoch}
            for shard in mine:
                self._tables.leases[shard].renew_counter += 1
            return mine

    async def break_open(self, shards: Sequence[int]) -> None:
        """See `router.sharding.ports.Leases`."""
        async with through(self._line, "break open"):
            for shard in shards:
                holder = self._tables.server.holder(("shard", shard))
                if holder is not None:
                    holder.end()

    async def forget_instance(self, name: str) -> None:
        """See `router.sharding.ports.Leases`."""
        async with through(self._line, "forget instance"):
            self._tables.instances.pop(name, None)

    async def forget_connection(self) -> None:
        """There is none."""


class MemoryQueues:
    """See `router.policies.ports.Queues`."""

    def __init__(self, tables: RouterTables, line: Line, clock: Clock) -> None:
        self._tables, self._line, self._clock = tables, line, clock

    async def put(
        self, queue_id: str, values: dict[str, Any], *, actor: str, judge: Judge = nothing_against
    ) -> tuple[QueueDefined, OutboxRow] | list[Fault] | None:
        """See `router.policies.ports.Queues`."""
        del actor
        at_ms = self._clock.now_ms()
        async with through(self._line, "put queue"):
            before = self._tables.queues.get(queue_id)
            faults = judge(
                {one.queue: one.policy for one in self._tables.queues.values() if one.pool == values["pool"]}
            )
            if faults:
                return faults
            if before is not None and before.pool != values["pool"]:
                return None
            fact = defined(queue_id, values, version=1 if before is None else before.version + 1)
            event = outbox_row(
                fact, topic=CONFIG.name, partition=shard_of(fact.pool), key=f"queue/{queue_id}", at_ms=at_ms
            )
            self._tables.queues[queue_id] = fact
            self._tables.outbox.add([event])
        return fact, event

    async def known(self, pool: str) -> tuple[set[str], dict[str, QueuePolicy]]:
        """See `router.policies.ports.Queues`."""
        async with through(self._line, "known queues"):
            queues = self._tables.queues.values()
            return set(self._tables.skills), {one.queue: one.policy for one in queues if one.pool == pool}

    async def get(self, queue_id: str) -> tuple[QueueDefined, dict[str, int]] | None:
        """See `router.policies.ports.Queues`."""
        async with through(self._line, "get queue"):
            found = self._tables.queues.get(queue_id)
            if found is None:
                return None
            counts: dict[str, int] = {}
            for _, row in self._tables.contacts.values():
                if row.queue_id == queue_id and row.ended_at_ms is None:
                    counts[row.state] = counts.get(row.state, 0) + 1
            return found, counts

    async def list_all(self, *, after: str, limit: int) -> list[QueueDefined]:
        """See `router.policies.ports.Queues`."""
        async with through(self._line, "list queues"):
            return [one for name, one in sorted(self._tables.queues.items()) if name > after][:limit]


class MemorySkills:
    """See `router.policies.ports.Skills`."""

    def __init__(self, tables: RouterTables, later: Later) -> None:
        self._tables, self._later = tables, later

    async def know(self, skills: Sequence[str]) -> None:
        """These exist."""
        self._later(lambda: self._tables.skills.update(skills))


def defined(queue_id: str, values: dict[str, Any], *, version: int) -> QueueDefined:
    """The fact that says how the queue is, from the values of a row."""
    given = {name: value for name, value in values.items() if name not in ("requirements", "policy", "shard")}
    return QueueDefined(
        queue=queue_id,
        version=version,
        requirements=tuple(Requirement(skill=skill, min_level=level) for skill, level in values["requirements"]),
        policy=msgspec.convert(values.get("policy", {}), QueuePolicy),
        **given,
    )
