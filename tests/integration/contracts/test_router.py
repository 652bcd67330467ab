"""What the router's ports promise: the same suite in memory and on PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from common.contracts.topics import shard_of
from common.runtime.clock import SystemClock, monotonic_s
from common.runtime.database import open_engine
from common.testing.database import MemoryServer
from common.testing.eventually import eventually
from common.testing.faults import GoodLine
from router.adapters.leases import PostgresLeases
from router.adapters.ledger import take as take_postgres
from router.adapters.queues import PostgresQueues
from router.core import State, step
from router.core.model import events
from router.core.model.queue import Queue
from router.policies.ports import Queues
from router.sharding.batch import make_batch
from router.sharding.ports import Assigned, Batch, Diverged, Fenced, Leases, Ledger, Reign
from router.testing import MemoryLeases, MemoryQueues, RouterTables
from router.testing import take as take_memory
from router.translate import queue_from
from tests.integration.conftest import Place
from tests.support.builders import arrived, seen

SHARD = shard_of("p")
VALUES: dict[str, Any] = {
    "pool": "p",
    "requirements": [],
    "priority": 0,
    "offer_timeout_ms": 20_000,
    "wrap_up_ms": 0,
    "link_grace_ms": 15_000,
    "service_level_ms": 20_000,
    "policy": {},
}


class Backend:
    """One database of the router, whatever it is made of."""

    def __init__(
        self,
        *,
        take: Callable[[str], Awaitable[tuple[Ledger, Reign] | None]],
        leases: Callable[[str], Leases],
        queues: Queues,
    ) -> None:
        self._take, self.leases, self.queues = take, leases, queues
        self._open: list[Ledger] = []

    async def try_take(self, owner: str = "t") -> tuple[Ledger, Reign] | None:
        found = await self._take(owner)
        if found is not None:
            self._open.append(found[0])
        return found

    async def take(self, owner: str = "t") -> tuple[Ledger, Reign]:
        async def look() -> tuple[Ledger, Reign] | None:
            return await self.try_take(owner)

        found = await eventually(look, what="the shard is free")
        assert found is not None
        return found

    async def close(self) -> None:
        for ledger in self._open:
            await ledger.close()


@pytest.fixture(params=["memory", "postgres"])
async def backend(request: pytest.FixtureRequest, place: Place) -> AsyncIterator[Backend]:
    if request.param == "memory":
        tables = RouterTables(MemoryServer(monotonic_s))
        line = GoodLine()
        found = Backend(
            take=lambda owner: take_memory(tables, line, shard=SHARD, owner=owner, topics=["contacts.v1"]),
            leases=lambda me: MemoryLeases(tables, line, me=me),
            queues=MemoryQueues(tables, line, SystemClock()),
        )
        yield found
        return
    owner = await asyncpg.connect(place.owners["router"])
    await owner.execute("TRUNCATE unit_use, assignment, contact, agent, agent_unit, routing_log, queue, parked, outbox")
    await owner.execute("UPDATE shard_lease SET epoch = 0, last_seq = 0, published_seq = 0, input_offsets = '{}'")
    await owner.execute("TRUNCATE router_instance")
    await owner.close()
    dsn = place.dsns["router"]
    engine = open_engine(dsn, name="t", size=2)
    opened: list[PostgresLeases] = []

    def leases(me: str) -> Leases:
        opened.append(PostgresLeases(dsn=dsn, me=me))
        return opened[-1]

    found = Backend(
        take=lambda owner: take_postgres(dsn, shard=SHARD, owner=owner, topics=["contacts.v1"]),
        leases=leases,
        queues=PostgresQueues(engine, SystemClock()),
    )
    yield found
    await found.close()
    for one in opened:
        await one.close()
    await engine.dispose()


class Core:
    """A core beside its ledger."""

    def __init__(self, ledger: Ledger, reign: Reign, queue: Queue) -> None:
        self.ledger, self.reign, self.state = ledger, reign, State()
        self.known: dict[str, int] = {}
        step(self.state, events.QueueSet(queue=queue), 0)

    def play(self, *told: events.Input, now_ms: int = 100) -> Batch:
        decided = [(one, now_ms) for what in told for one in step(self.state, what, now_ms)]
        return make_batch(self.state, self.reign, decided, self.known)

    async def commit(self, *told: events.Input, now_ms: int = 100) -> None:
        await self.ledger.commit(self.reign, self.play(*told, now_ms=now_ms))


async def core(backend: Backend) -> Core:
    put = await backend.queues.put("billing", VALUES, actor="t")
    assert put is not None
    return Core(*await backend.take(), queue_from(put[0]))


class TestLedger:
    async def test_a_shard_has_one_owner_and_each_reign_a_higher_epoch(self, backend: Backend) -> None:
        ledger, reign = await backend.take()

        assert await backend.try_take("other") is None
        await ledger.close()

        assert (await backend.take("other"))[1].epoch == reign.epoch + 1

    async def test_what_was_committed_is_rebuilt(self, backend: Backend) -> None:
        here = await core(backend)
        await here.commit(arrived("c1"), seen("ann"))

        rebuilt = await here.ledger.rebuild(now_ms=200)

        assert rebuilt.contacts == here.state.contacts and rebuilt.agents == here.state.agents
        assert set(rebuilt.queues) == {"billing"}
        lines = await here.ledger.unpublished(here.reign, after_seq=0, lines_max=10)
        assert [line.seq for line in lines] == list(range(1, here.reign.last_seq + 1))

    async def test_a_reign_that_is_over_commits_nothing(self, backend: Backend) -> None:
        here = await core(backend)
        old = Reign(shard=SHARD, epoch=here.reign.epoch - 1, last_seq=0, published_seq=0, offsets={})

        with pytest.raises(Fenced):
            await here.ledger.commit(old, here.play(arrived("c1")))

        assert await here.ledger.known(["c1"]) == set()

    async def test_a_batch_that_does_not_fit_changes_nothing(self, backend: Backend) -> None:
        here = await core(backend)
        await here.commit(arrived("c1"))
        here.state.fresh["c1"] = None
        here.state.touched_contacts["c1"] = here.state.contacts["c1"]

        with pytest.raises(Diverged):
            await here.ledger.commit(here.reign, here.play(arrived("c2")))

        assert await here.ledger.known(["c1", "c2"]) == {"c1"}
        assert len(await here.ledger.unpublished(here.reign, after_seq=0, lines_max=10)) == here.reign.last_seq

    async def test_a_unit_is_taken_once(self, backend: Backend) -> None:
        here = await core(backend)
        await here.commit(arrived("c1"), seen("ann"))
        batch = here.play(arrived("c2"))
        taken = await here.ledger.rebuild(now_ms=200)
        offer = taken.contacts["c1"].offers[0]
        second = Assigned(
            contact_id="c2",
            attempt=1,
            agent_id="ann",
            accepted=False,
            units=offer.unit_numbers,
            released_at_ms=None,
            capacity=6,
        )
        values = {name: getattr(batch, name) for name in Batch.__dataclass_fields__}

        with pytest.raises(Diverged):
            await here.ledger.commit(here.reign, Batch(**{**values, "assigned": [second]}))

        assert await here.ledger.known(["c2"]) == set()

    async def test_the_next_reign_begins_where_the_last_one_ended(self, backend: Backend) -> None:
        here = await core(backend)
        for place in here.reign.offsets:
            here.reign.offsets[place] = 17
        await here.commit(arrived("c1"))
        await here.ledger.close()

        _, reign = await backend.take("other")

        assert reign.last_seq == here.reign.last_seq and set(reign.offsets.values()) == {17}


class TestLeases:
    async def test_who_renews_is_seen_and_keeps_what_is_theirs(self, backend: Backend) -> None:
        _, reign = await backend.take("me")
        leases = backend.leases("me")

        assert await leases.renew({SHARD: reign.epoch}) == {SHARD}
        assert await leases.renew({SHARD: reign.epoch - 1}) == set()

        rows, instances, draining = await leases.look()
        mine = next(one for one in rows if one.shard == SHARD)
        assert mine.locked and mine.owner == "me" and instances["me"] == 2 and draining == set()

    async def test_a_reign_that_is_broken_open_is_free(self, backend: Backend) -> None:
        await backend.take("stands still")
        leases = backend.leases("me")

        await leases.break_open([SHARD])

        assert (await backend.take("me"))[1].epoch == 2

    async def test_an_instance_that_is_gone_is_forgotten(self, backend: Backend) -> None:
        leases = backend.leases("me")
        await leases.renew({})

        await leases.forget_instance("me")

        assert (await leases.look())[1] == {}


class TestQueues:
    async def test_a_change_is_a_new_version_and_the_pool_is_fixed(self, backend: Backend) -> None:
        first = await backend.queues.put("q", VALUES, actor="t")
        second = await backend.queues.put("q", {**VALUES, "priority": 7}, actor="t")
        assert first is not None and second is not None

        assert (first[0].version, second[0].version, second[0].priority) == (1, 2, 7)
        assert second[1].partition == SHARD and second[1].type == "queue.defined"
        assert await backend.queues.put("q", {**VALUES, "pool": "elsewhere"}, actor="t") is None
        assert [one.version for one in await backend.queues.list_all(after="", limit=10)] == [2]

    async def test_a_contact_that_moved_on_is_counted_in_its_new_queue(self, backend: Backend) -> None:
        here = await core(backend)
        overflow = {"overflow": [{"when": {"waited_over_ms": 1_000}, "queue": "other"}]}
        changed = await backend.queues.put("billing", {**VALUES, "policy": overflow}, actor="t")
        other = await backend.queues.put("other", VALUES, actor="t")
        assert changed is not None and other is not None
        told = [events.QueueSet(queue=queue_from(one[0])) for one in (other, changed)]
        await here.commit(*told, arrived("c1"))

        await here.commit(events.Ticked(), now_ms=5_000)

        first, second = await backend.queues.get("billing"), await backend.queues.get("other")
        assert first is not None and second is not None
        assert (first[1], second[1]) == ({}, {"queued": 1})
