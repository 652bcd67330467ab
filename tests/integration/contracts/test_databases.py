"""What every outbox and every follower's seat promises: the same suite in memory and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from common.contracts.config import SkillDefined
from common.contracts.topics import CONFIG, ROUTING
from common.runtime.bus import Incoming, envelope_for, incoming, outgoing
from common.runtime.bus import Place as BusPlace
from common.runtime.clock import monotonic_s
from common.runtime.database import open_pool
from common.runtime.following import OpenSeat, PostgresSeat, Seat
from common.runtime.outbox import OutboxRow, OutboxTable, PostgresOutbox, insert, outbox_row
from common.testing.database import MemoryOutbox, MemorySeat, MemoryServer, OutboxRows, Positions
from common.testing.eventually import eventually
from common.testing.faults import GoodLine
from tests.integration.conftest import Place

WHERE = BusPlace(topic=CONFIG.name, partition=3)


def row(key: str) -> OutboxRow:
    fact = SkillDefined(skill=key, version=1)
    return outbox_row(fact, topic=CONFIG.name, partition=0, key=f"skill/{key}", at_ms=1)


class Outboxes:
    """Two replicas' views of one table, and a way to write into it."""

    def __init__(self, one: OutboxTable, other: OutboxTable, add: Any) -> None:
        self.one, self.other, self.add = one, other, add

    async def lying(self, number: int) -> list[str]:
        """Keys of rows that are old enough, once there are so many; they stay."""

        async def look() -> list[str]:
            keys: list[str] = []
            try:
                async with self.one.left_lying(10) as rows:
                    keys = [row.key for row in rows]
                    raise _Put
            except _Put:
                return keys if len(keys) >= number else []

        return await eventually(look, what="rows are old enough")


class _Put(Exception):
    pass


@pytest.fixture(params=["memory", "postgres"])
async def outboxes(request: pytest.FixtureRequest, place: Place) -> AsyncIterator[Outboxes]:
    if request.param == "memory":
        server = MemoryServer(monotonic_s)
        rows = OutboxRows(server)

        async def add_here(*given: OutboxRow) -> None:
            rows.add(given)

        yield Outboxes(MemoryOutbox(server, rows, GoodLine()), MemoryOutbox(server, rows, GoodLine()), add_here)
        return
    pool = await open_pool(place.owners["intake"], name="t", size=4)
    await pool.execute("TRUNCATE outbox")

    async def add(*given: OutboxRow) -> None:
        async with pool.acquire() as connection:
            await insert(connection, given)

    yield Outboxes(PostgresOutbox(pool), PostgresOutbox(pool), add)
    await pool.close()


class TestOutbox:
    async def test_a_young_row_is_left_to_the_fast_path(self, outboxes: Outboxes) -> None:
        await outboxes.add(row("a"))

        async with outboxes.one.left_lying(10) as rows:
            assert rows == []

    async def test_what_is_swept_is_gone_and_what_fails_stays(self, outboxes: Outboxes) -> None:
        await outboxes.add(row("a"), row("b"))
        assert sorted(await outboxes.lying(2)) == ["skill/a", "skill/b"]

        async with outboxes.one.left_lying(10) as rows:
            assert len(rows) == 2

        assert (await outboxes.one.size())[0] == 0

    async def test_two_replicas_never_hold_the_same_row(self, outboxes: Outboxes) -> None:
        await outboxes.add(row("a"))
        await outboxes.lying(1)

        async with outboxes.one.left_lying(10) as rows, outboxes.other.left_lying(10) as others:
            assert (len(rows), others) == (1, [])

    async def test_what_was_acknowledged_is_forgotten(self, outboxes: Outboxes) -> None:
        first, second = row("a"), row("b")
        await outboxes.add(first, second)

        await outboxes.one.forget([first.event_id, "unknown"])

        assert (await outboxes.one.size())[0] == 1


class Notes:
    """What facts did, in a transaction that may fail."""

    def __init__(self, write: Any) -> None:
        self.write = write


@pytest.fixture(params=["memory", "postgres"])
async def open_seat(request: pytest.FixtureRequest, place: Place) -> AsyncIterator[OpenSeat]:
    async def apply(tables: Notes, records: Sequence[Incoming]) -> None:
        for record in records:
            assert isinstance(record.fact, SkillDefined)
            await tables.write(record.fact.skill)
            if record.fact.skill == "poison":
                raise ArithmeticError("a mistake")

    if request.param == "memory":
        kept: list[str] = []

        def tables(later: Any) -> Notes:
            async def write(skill: str) -> None:
                later(lambda: kept.append(skill))

            return Notes(write)

        yield MemorySeat.opener(
            name="t",
            server=MemoryServer(monotonic_s),
            line=GoodLine(),
            positions=Positions(),
            tables=tables,
            apply=apply,
        )
        return
    dsn = place.owners["intake"]
    owner = await asyncpg.connect(dsn)
    await owner.execute("TRUNCATE position, parked, progress, skill")
    await owner.close()

    def on(connection: Any) -> Notes:
        async def write(skill: str) -> None:
            await connection.execute("INSERT INTO skill (skill) VALUES ($1) ON CONFLICT DO NOTHING", skill)

        return Notes(write)

    yield PostgresSeat.opener(name="t", dsn=dsn, tables=on, apply=apply)


def fact(skill: str, offset: int) -> Incoming:
    told = SkillDefined(skill=skill, version=1)
    envelope = envelope_for(told, event_id=skill, at_ms=1, key=skill, producer="t")
    record = outgoing(WHERE.topic, WHERE.partition, envelope, told)
    return incoming(record.topic, record.partition, offset, record.headers, record.value)


async def taken(open_seat: OpenSeat) -> Seat:
    seat = await open_seat()

    async def take() -> bool:
        return await seat.take()

    await eventually(take, what="the seat is free")
    return seat


class TestSeat:
    async def test_one_replica_has_it_until_it_is_closed(self, open_seat: OpenSeat) -> None:
        first, second = await taken(open_seat), await open_seat()

        assert not await second.take()
        await first.close()

        assert await eventually(second.take)
        await second.close()

    async def test_positions_are_where_the_last_one_ended(self, open_seat: OpenSeat) -> None:
        seat = await taken(open_seat)
        await seat.commit(readable=[fact("a", 4)], bad=[], ends={WHERE: 5}, marks={3: 7})
        await seat.commit(readable=[], bad=[], ends={BusPlace(topic=ROUTING.name, partition=3): 9}, marks={3: 7})
        await seat.note()
        await seat.close()

        seat = await taken(open_seat)
        offsets, sequences = await seat.positions([CONFIG.name, ROUTING.name])

        assert offsets[WHERE] == 5 and offsets[BusPlace(topic=CONFIG.name, partition=0)] == 0
        assert sequences.marks == {3: 7}
        await seat.close()

    async def test_what_fails_leaves_everything_as_it_was(self, open_seat: OpenSeat) -> None:
        seat = await taken(open_seat)

        with pytest.raises(ArithmeticError):
            await seat.commit(readable=[fact("b", 0), fact("poison", 1)], bad=[], ends={WHERE: 2}, marks={})

        assert (await seat.positions([CONFIG.name]))[0][WHERE] == 0
        await seat.close()

    async def test_what_cannot_be_read_is_parked_once(self, open_seat: OpenSeat) -> None:
        seat = await taken(open_seat)
        bad = incoming(WHERE.topic, WHERE.partition, 0, (), b"?")

        for _ in range(2):
            await seat.commit(readable=[], bad=[bad], ends={WHERE: 1}, marks={})

        assert (await seat.positions([CONFIG.name]))[0][WHERE] == 1
        await seat.close()


async def test_a_wait_is_a_turn_of_the_loop_even_without_faults() -> None:
    line, order = GoodLine(), []

    async def other() -> None:
        order.append("other")

    task = asyncio.create_task(other())
    await line.before("call")
    order.append("after")
    await line.after("call")

    assert order == ["other", "after"] and task.done()
