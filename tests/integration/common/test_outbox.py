"""From a committed row to the bus, whatever happens between."""

import asyncio

import asyncpg
import pytest

from common.contracts.config import SkillDefined
from common.contracts.topics import CONFIG
from common.runtime.database import open_pool
from common.runtime.failures import Retryable
from common.runtime.outbox import Outbox, OutboxRow, PostgresOutbox, insert, outbox_row
from common.testing.bus import MemoryBus
from common.testing.eventually import eventually
from tests.integration.conftest import Place


def row(skill: str) -> OutboxRow:
    return outbox_row(
        SkillDefined(skill=skill, version=1), topic=CONFIG.name, partition=0, key=f"skill/{skill}", at_ms=1
    )


def published(bus: MemoryBus) -> list[str]:
    return [one.fact.skill for one in bus.stored(CONFIG.name) if isinstance(one.fact, SkillDefined)]


async def test_a_row_is_published_at_once_and_forgotten_afterwards(place: Place) -> None:
    bus, pool = MemoryBus(), await open_pool(place.dsns["agent-presence"], name="t", size=2)
    outbox = Outbox(table=PostgresOutbox(pool), publisher=bus, producer="t", topic_prefix="")
    running = asyncio.create_task(outbox.run())
    rows = [row(f"a{n}") for n in range(3)]
    async with pool.acquire() as connection:
        await insert(connection, rows)

    outbox.hand_over(rows)

    async def gone() -> bool:
        return bool(await pool.fetchval("SELECT count(*) = 0 FROM outbox"))

    await eventually(gone)
    running.cancel()
    assert published(bus) == ["a0", "a1", "a2"]
    await pool.close()


async def test_a_row_that_nobody_handed_over_is_swept(place: Place) -> None:
    bus, pool = MemoryBus(), await open_pool(place.dsns["agent-presence"], name="t", size=2)
    outbox = Outbox(table=PostgresOutbox(pool), publisher=bus, producer="t", topic_prefix="")
    async with pool.acquire() as connection:
        await insert(connection, [row("b")])
    owner = await asyncpg.connect(place.owners["agent-presence"])
    await owner.execute("UPDATE outbox SET created_at = now() - interval '1 minute'")
    await owner.close()

    swept = await outbox.sweep()

    assert (swept, published(bus)) == (1, ["b"])
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
    await pool.close()


async def test_with_the_bus_away_rows_stay_and_go_out_when_it_is_back(place: Place) -> None:
    bus, pool = MemoryBus(), await open_pool(place.dsns["agent-presence"], name="t", size=2)
    outbox = Outbox(table=PostgresOutbox(pool), publisher=bus, producer="t", topic_prefix="")
    async with pool.acquire() as connection:
        await insert(connection, [row("c"), row("d")])
        await connection.execute("UPDATE outbox SET created_at = now() - interval '1 minute'")
    bus.away = True

    with pytest.raises(Retryable):
        await outbox.sweep()
    kept = await pool.fetchval("SELECT count(*) FROM outbox")
    bus.away = False
    await outbox.sweep()

    assert kept == 2
    assert set(published(bus)) == {"c", "d"}
    await pool.close()
