"""Consuming facts exactly once: the effect and the position commit together, by one replica at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar
from zlib import crc32

import asyncpg
import structlog

from common.contracts.topics import ROUTING, SHARDS
from common.runtime import metrics
from common.runtime.bus import Bus, Incoming, Place, Reader
from common.runtime.clock import SystemClock, monotonic_s
from common.runtime.database import AWAY, Connection, open_connection
from common.runtime.failures import InvariantBroken, Retryable
from common.runtime.tracing import applying

log = structlog.get_logger()

RECORDS_MAX = 500
READ_WAIT_MS = 250
TRY_LEAD_EVERY_S = 0.5
BACK_OFF_S = 0.5
NOTE_EVERY_S = 0.5
NOTE = """
INSERT INTO progress (follower, read_at) VALUES ($1, now())
ON CONFLICT (follower) DO UPDATE SET read_at = excluded.read_at
"""

Apply = Callable[[Connection, Sequence[Incoming]], Awaitable[None]]
Tables = TypeVar("Tables")


class Sequences:
    """High-water marks of the shards' logs. A record at or below its mark was seen; a gap is never stepped over."""

    def __init__(self, marks: dict[int, int]) -> None:
        self.marks = dict(marks)

    def is_fresh(self, record: Incoming) -> bool:
        """Whether `record` is the next of its shard. Raises `InvariantBroken` on a gap."""
        if record.envelope is None or record.envelope.sequence is None:
            return True
        mark = self.marks.get(record.partition, 0)
        if record.envelope.sequence <= mark:
            return False
        if record.envelope.sequence != mark + 1:
            raise InvariantBroken(
                f"{record.topic}/{record.partition} has sequence {record.envelope.sequence} after {mark}:"
                " facts are missing; the next start reads again from the stored position"
            )
        self.marks[record.partition] = record.envelope.sequence
        return True


class Seat(Protocol):
    """The right to follow, which one replica has at a time, and the transaction in which facts have their effect.

    Every method raises `Retryable`, or what a driver raises, when the database is away: then the seat is lost.
    """

    async def take(self) -> bool:
        """Try to get the right; it lasts until the seat is closed or its connection is lost."""
        ...

    async def positions(self, topics: Sequence[str]) -> tuple[dict[Place, int], Sequences]:
        """Where to read on, for every partition of `topics`, and the marks of the shards' logs."""
        ...

    async def commit(
        self,
        *,
        readable: Sequence[Incoming],
        bad: Sequence[Incoming],
        ends: Mapping[Place, int],
        marks: Mapping[int, int],
    ) -> None:
        """Apply what is readable, park what is bad, and remember the positions: all of it or nothing."""
        ...

    async def note(self) -> None:
        """Say that everything up to now was read."""
        ...

    async def close(self) -> None:
        """Give the right back."""
        ...


OpenSeat = Callable[[], Awaitable[Seat]]


class PostgresSeat:
    """A connection that holds a session advisory lock; whoever loses the connection loses the right with it."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", *, name: str, apply: Apply) -> None:
        self._connection = connection
        self._name = name
        self._apply = apply

    @classmethod
    def opener(
        cls,
        *,
        name: str,
        dsn: str,
        tables: Callable[[Connection], Tables],
        apply: Callable[[Tables, Sequence[Incoming]], Awaitable[None]],
    ) -> OpenSeat:
        """Opens seats of the follower `name`; `apply` is the effect of facts on `tables`, inside one transaction."""

        async def apply_on(connection: Connection, records: Sequence[Incoming]) -> None:
            await apply(tables(connection), records)

        async def open_seat() -> Seat:
            return cls(await open_connection(dsn, name=f"{name}-follower", durable=False), name=name, apply=apply_on)

        return open_seat

    async def take(self) -> bool:
        """See `Seat`."""
        lock = crc32(f"follower/{self._name}".encode())
        return bool(await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", lock))

    async def positions(self, topics: Sequence[str]) -> tuple[dict[Place, int], Sequences]:
        """See `Seat`."""
        return await load_positions(self._connection, topics)

    async def commit(
        self,
        *,
        readable: Sequence[Incoming],
        bad: Sequence[Incoming],
        ends: Mapping[Place, int],
        marks: Mapping[int, int],
    ) -> None:
        """See `Seat`."""
        async with self._connection.transaction():
            await park(self._connection, bad)
            if readable:
                await self._apply(self._connection, readable)
            await save_positions(self._connection, ends, marks)

    async def note(self) -> None:
        """See `Seat`."""
        await self._connection.execute(NOTE, self._name)

    async def close(self) -> None:
        """See `Seat`."""
        await self._connection.close(timeout=2)


class Follower:
    """Reads topics and applies their facts, while it has the right to do so.

    A record that cannot be read is parked in the same transaction, and blocks nobody.
    """

    def __init__(self, *, name: str, open_seat: OpenSeat, bus: Bus, topics: Sequence[str]) -> None:
        self._name = name
        self._open_seat = open_seat
        self._bus = bus
        self._topics = topics
        self.leads = False
        self._noted_at = 0.0
        metrics.parked.labels(name)  # there at 0: an alert sees no increase in a series that appears at 1

    async def run(self) -> None:
        """Follow until cancelled; trouble of the world is waited out."""
        while True:
            try:
                await self._lead()
            except (Retryable, *AWAY) as why:
                log.warning("follower_waits", follower=self._name, why=repr(why))
                await asyncio.sleep(BACK_OFF_S)
            finally:
                self.leads = False
                metrics.follower_leads.labels(self._name).set(0)

    async def _lead(self) -> None:
        seat = await self._open_seat()
        try:
            while not await seat.take():
                await asyncio.sleep(TRY_LEAD_EVERY_S)
            offsets, sequences = await seat.positions(self._topics)
            reader = await self._bus.reader(offsets, at_once=False)
            self.leads = True
            metrics.follower_leads.labels(self._name).set(1)
            log.info("follower_leads", follower=self._name)
            try:
                while True:
                    records = await reader.read(wait_ms=READ_WAIT_MS, records_max=RECORDS_MAX)
                    if records:
                        with applying(self._name, records):
                            await self._take(seat, records, sequences)
                        note_read(self._name, records, reader)
                    await self._note_progress(seat)
            finally:
                await reader.close()
        finally:
            await seat.close()

    async def _note_progress(self, seat: Seat) -> None:
        """Say up to when the facts are in; on an idle bus this is also how we notice that we lost our right."""
        now_s = monotonic_s()
        if now_s - self._noted_at >= NOTE_EVERY_S:
            await seat.note()
            self._noted_at = now_s

    async def _take(self, seat: Seat, records: Sequence[Incoming], sequences: Sequences) -> None:
        fresh = [record for record in records if sequences.is_fresh(record)]
        bad = [record for record in fresh if record.bad]
        metrics.parked.labels(self._name).inc(len(bad))
        await seat.commit(
            readable=[record for record in fresh if record.fact is not None],
            bad=bad,
            ends={Place(topic=record.topic, partition=record.partition): record.offset + 1 for record in records},
            marks=sequences.marks,
        )


def note_read(name: str, records: Sequence[Incoming], reader: Reader) -> None:
    """How old the facts are and how many are left to read."""
    now_ms = SystemClock.wall_ms()
    for record in records:
        if record.envelope is not None:
            metrics.read(name, topic=record.topic, occurred_at_ms=record.envelope.occurred_at_ms, now_ms=now_ms)
    for topic, left in reader.lag().items():
        metrics.hop_lag_records.labels(name, topic).set(left)


async def load_positions(connection: Connection, topics: Sequence[str]) -> tuple[dict[Place, int], Sequences]:
    """Where to read on, for every partition of `topics`, and the marks of the shards' logs."""
    offsets = {Place(topic=topic, partition=n): 0 for topic in topics for n in range(SHARDS)}
    marks: dict[int, int] = {}
    for row in await connection.fetch("SELECT topic, partition, next_offset, last_seq FROM position"):
        place = Place(topic=row["topic"], partition=row["partition"])
        if place in offsets:
            offsets[place] = row["next_offset"]
        if row["topic"].endswith(ROUTING.name):
            marks[row["partition"]] = row["last_seq"]
    return offsets, Sequences(marks)


async def save_positions(connection: Connection, ends: Mapping[Place, int], marks: Mapping[int, int]) -> None:
    """Remember that everything before `ends` has had its effect."""
    rows = [
        (place.topic, place.partition, end, marks.get(place.partition, 0) if place.topic.endswith(ROUTING.name) else 0)
        for place, end in sorted(ends.items(), key=lambda one: (one[0].topic, one[0].partition))
    ]
    await connection.executemany(
        "INSERT INTO position (topic, partition, next_offset, last_seq) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (topic, partition) DO UPDATE"
        " SET next_offset = excluded.next_offset, last_seq = excluded.last_seq",
        rows,
    )


async def park(connection: Connection, records: Sequence[Incoming]) -> None:
    """Put aside what cannot be read, with the reason, for a person to look at."""
    for record in records:
        log.error("record_parked", topic=record.topic, partition=record.partition, offset=record.offset)
        await connection.execute(
            "INSERT INTO parked (topic, partition, record_offset, reason, value) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT DO NOTHING",
            record.topic,
            record.partition,
            record.offset,
            record.bad,
            record.value,
        )
