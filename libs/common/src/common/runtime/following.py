"""Consuming facts exactly once: the effect and the position commit together, by one replica at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import asyncpg
import msgspec
import structlog

from common.contracts.topics import ROUTING, SHARDS
from common.runtime import locks, metrics
from common.runtime.back_off import BackOff
from common.runtime.bus import Bus, Incoming, Place, Reader
from common.runtime.clock import SystemClock, monotonic_s
from common.runtime.database import AWAY, Connection, open_connection
from common.runtime.failures import Retryable, strays_as_trouble
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

NO_PLACE = "has no place in the log of a shard: it is not the router's"
FACTS_MISSING = "facts are missing, or it is not the router's"
KEPT_OF_A_GAP = 20
"""Records after a gap that are parked; the others are counted, and come again when the log is published again."""
REASON_CHARS_MAX = 500
TRIES_MAX = 3
"""A record whose effect failed so often, by itself, is parked."""
GIVEN_UP_MAX = 20
"""Records given up one after the other; one more, and it is not the records: the process ends, as it does for any mistake."""
IDLE_SESSION_TIMEOUT_S = 10
"""A follower writes at least every `NOTE_EVERY_S`, so a session that is silent for so long is that of a process that stands
still (paused, or its machine is): the database ends it, and another replica follows."""

Apply = Callable[[Connection, Sequence[Incoming]], Awaitable[None]]
Tables = TypeVar("Tables")


class Sequences:
    """High-water marks of the shards' logs. A record at or below its mark was seen; a gap is never stepped over."""

    def __init__(self, marks: dict[int, int]) -> None:
        self.marks = dict(marks)

    def refusal(self, record: Incoming) -> str:
        """Why a record of a shard's log must not be believed: it has no place there, or facts before it are missing.

        Empty for the next one, for one that was seen, for one that cannot be read, and for every other topic's.
        """
        if not record.topic.endswith(ROUTING.name) or record.envelope is None:
            return ""
        sequence, epoch = record.envelope.sequence, record.envelope.epoch
        if sequence is None or epoch is None or sequence < 1 or epoch < 1:
            return NO_PLACE
        mark = self.marks.get(record.partition, 0)
        return f"has sequence {str(sequence)[:20]} after {mark}: {FACTS_MISSING}" if sequence > mark + 1 else ""

    def is_fresh(self, record: Incoming) -> bool:
        """Whether the record, which was not refused, is the next of its log: then its mark moves on."""
        if not record.topic.endswith(ROUTING.name) or record.envelope is None:
            return True
        sequence = record.envelope.sequence
        if sequence is None or sequence <= self.marks.get(record.partition, 0):
            return False
        self.marks[record.partition] = sequence
        return True


class Gaps:
    """What a reader does about records that `Sequences` refuses: read again once, then set them aside and say so.

    A gap is open until the facts before it come, for they can be published again (`deployed reconcile`, see runbooks).
    """

    def __init__(self, reader: str) -> None:
        self._reader = reader
        self._met: dict[Place, int] = {}
        self._open: dict[int, int] = {}
        metrics.facts_refused.labels(reader)
        metrics.log_gaps.labels(reader).set(0)

    def refuse(self, record: Incoming, why: str) -> bool:
        """Whether the record is to be kept for a person to look at: the first `KEPT_OF_A_GAP` of each gap are.

        Raises `Retryable` when facts are missing for the first time: it may be the reading that lost them.
        """
        place = Place(topic=record.topic, partition=record.partition)
        if why != NO_PLACE and self._met.get(place, -1) < record.offset and record.partition not in self._open:
            self._met[place] = record.offset
            raise Retryable(f"{record.topic}/{record.partition}@{record.offset} {why}; it is read again")
        metrics.facts_refused.labels(self._reader).inc()
        count = 0
        if why != NO_PLACE:
            count = self._open[record.partition] = self._open.get(record.partition, 0) + 1
            metrics.log_gaps.labels(self._reader).set(len(self._open))
        if count < KEPT_OF_A_GAP:
            log.error(
                "fact_refused",
                reader=self._reader,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
            )
        return count < KEPT_OF_A_GAP

    def went_on(self, record: Incoming) -> None:
        """The next fact of the log is there: no gap before it."""
        if self._open and record.topic.endswith(ROUTING.name) and self._open.pop(record.partition, 0):
            metrics.log_gaps.labels(self._reader).set(len(self._open))


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
            connection = await open_connection(
                dsn, name=f"{name}-follower", durable=False, idle_session_timeout_s=IDLE_SESSION_TIMEOUT_S
            )
            return cls(connection, name=name, apply=apply_on)

        return open_seat

    async def take(self) -> bool:
        """See `Seat`."""
        lock = locks.follower(self._name)
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
        self._gaps = Gaps(name)
        self._given_up = 0
        metrics.reader_failures.labels(name)
        metrics.parked.labels(name)  # there at 0: an alert sees no increase in a series that appears at 1

    async def run(self) -> None:
        """Follow until cancelled; trouble of the world is waited out."""
        back_off = BackOff(BACK_OFF_S)
        while True:
            try:
                with strays_as_trouble():
                    await self._lead()
            except (Retryable, *AWAY) as why:
                log.warning("follower_waits", follower=self._name, why=repr(why))
                await back_off.pause()
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
        before = dict(sequences.marks)
        fresh: list[Incoming] = []
        for record in records:
            why = sequences.refusal(record)
            if why:
                if self._gaps.refuse(record, why):
                    fresh.append(msgspec.structs.replace(record, bad=why))
            elif sequences.is_fresh(record):
                self._gaps.went_on(record)
                fresh.append(record)
        try:
            await self._commit(seat, fresh, ends_of(records), sequences.marks)
            self._given_up = 0
        except (Retryable, *AWAY):
            raise
        except Exception as why:  # a mistake of ours, or a value that no table takes: find whose
            self._note_failure(why, fresh)
            await self._take_one_by_one(seat, fresh, before)
            await self._commit(seat, [], ends_of(records), sequences.marks)

    async def _take_one_by_one(self, seat: Seat, fresh: Sequence[Incoming], marks: dict[int, int]) -> None:
        """Each record by itself, so that only the one that fails is given up."""
        for record in fresh:
            sequence = record.envelope.sequence if record.envelope is not None else None
            if record.topic.endswith(ROUTING.name) and sequence == marks.get(record.partition, 0) + 1:
                marks[record.partition] = sequence
            for turn in range(TRIES_MAX):
                try:
                    await self._commit(seat, [record], ends_of([record]), marks)
                    self._given_up = 0
                    break
                except (Retryable, *AWAY):
                    raise
                except Exception as why:
                    self._note_failure(why, [record])
                    self._given_up += turn == TRIES_MAX - 1
                    if self._given_up > GIVEN_UP_MAX:
                        raise
                    reason = f"made {self._name} fail {TRIES_MAX} times: {type(why).__name__}"
            else:
                await self._commit(seat, [msgspec.structs.replace(record, bad=reason)], ends_of([record]), marks)

    async def _commit(
        self, seat: Seat, records: Sequence[Incoming], ends: Mapping[Place, int], marks: Mapping[int, int]
    ) -> None:
        bad = [record for record in records if record.bad]
        readable = [record for record in records if record.fact is not None and not record.bad]
        await seat.commit(readable=readable, bad=bad, ends=ends, marks=marks)
        metrics.parked.labels(self._name).inc(len(bad))

    def _note_failure(self, why: Exception, records: Sequence[Incoming]) -> None:
        metrics.reader_failures.labels(self._name).inc()
        log.error(
            "facts_not_applied",
            follower=self._name,
            kind=type(why).__name__,
            why=str(why)[:200],
            records=[f"{one.topic}/{one.partition}@{one.offset}" for one in records[:20]],
            count=len(records),
        )


def ends_of(records: Sequence[Incoming]) -> dict[Place, int]:
    """Where each place is read on after `records`."""
    return {Place(topic=one.topic, partition=one.partition): one.offset + 1 for one in records}


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


def reason_shown(reason: str) -> str:
    """A reason that any table takes, of a length that a person reads."""
    return reason[:REASON_CHARS_MAX].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


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
            reason_shown(record.bad),
            record.value,
        )
