"""A core and its ledger on real PostgreSQL."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from common.contracts.topics import shard_of
from router.adapters.ledger import PostgresLedger, take
from router.core import State, step
from router.core.model import events
from router.sharding.batch import make_batch
from router.sharding.ports import Batch, Reign
from tests.integration.conftest import Place
from tests.support.builders import queue

SHARD = shard_of("p")


class Table:
    """A core and its ledger."""

    def __init__(self, ledger: PostgresLedger, reign: Reign, router: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.ledger, self.reign, self.router = ledger, reign, router
        self.state = State()
        self.known: dict[str, int] = {}

    def play(self, *told: events.Input, now_ms: int = 100) -> Batch:
        decided = [(one, now_ms) for what in told for one in step(self.state, what, now_ms)]
        return make_batch(self.state, self.reign, decided, self.known)

    async def commit(self, *told: events.Input, now_ms: int = 100) -> None:
        await self.ledger.commit(self.reign, self.play(*told, now_ms=now_ms))


@pytest.fixture
async def table(place: Place) -> AsyncIterator[Table]:
    router = await asyncpg.connect(place.owners["router"])
    await router.execute("TRUNCATE unit_use, assignment, contact, agent, agent_unit, routing_log, queue, parked")
    await router.execute("UPDATE shard_lease SET epoch = 0, last_seq = 0, published_seq = 0, input_offsets = '{}'")
    row = ("billing", "p", SHARD, 1, "[]", 0, 20_000, 0, 15_000, 20_000)
    await router.execute("INSERT INTO queue VALUES ($1,$2,$3,$4,$5::jsonb,$6,$7,$8,$9,$10)", *row)
    taken = await take(place.dsns["router"], shard=SHARD, owner="t", topics=["contacts.v1"])
    assert taken is not None
    table = Table(*taken, router)
    step(table.state, events.QueueSet(queue=queue()), 0)
    yield table
    await table.ledger.close()
    await router.close()
