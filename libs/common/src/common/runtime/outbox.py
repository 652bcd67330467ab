"""From a committed row to Kafka: at once in the same process, and again by a sweeper until it is acknowledged."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import msgspec
import structlog

from common.contracts.codec import encode, type_of
from common.contracts.envelope import Envelope, to_headers
from common.runtime import metrics
from common.runtime.bus import Outgoing, Publisher
from common.runtime.clock import new_id
from common.runtime.database import Connection, Pool, borrowed
from common.runtime.failures import Retryable

log = structlog.get_logger()

HANDED_OVER_MAX = 5_000
"""Rows kept in memory for the fast path; beyond it they are left to the sweeper."""
PUBLISH_MAX = 500
SWEEP_EVERY_S = 0.25
MEASURE_EVERY = 20
"""Sweeps between two looks at how much waits: a look reads the whole table."""
SWEEP_AGE = "500 milliseconds"
"""Younger rows are the fast path's."""

INSERT = """
INSERT INTO outbox (event_id, topic, partition, key, type, at_ms, correlation_id, value)
SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::bytea[])
"""


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that must reach Kafka, as it lies in the table `outbox`. `topic` has no prefix."""

    event_id: str
    topic: str
    partition: int
    key: str
    type: str
    at_ms: int
    correlation_id: str
    value: bytes


def outbox_row(
    fact: msgspec.Struct, *, topic: str, partition: int, key: str, at_ms: int, correlation_id: str = ""
) -> OutboxRow:
    """A row for `fact`, with the event id that every attempt to publish it will carry."""
    return OutboxRow(
        event_id=new_id(),
        topic=topic,
        partition=partition,
        key=key,
        type=type_of(fact),
        at_ms=at_ms,
        correlation_id=correlation_id,
        value=encode(fact),
    )


def columns(rows: Sequence[OutboxRow]) -> list[list[object]]:
    """The rows as the arrays that `INSERT` and its like unnest."""
    return [[getattr(row, name) for row in rows] for name in OutboxRow.__struct_fields__]


async def insert(connection: Connection, rows: Sequence[OutboxRow]) -> None:
    """Write the rows inside the caller's transaction."""
    await connection.execute(INSERT, *columns(rows))


class OutboxTable(Protocol):
    """The table `outbox` of one service. Every method raises `Retryable` when the database is away."""

    async def forget(self, event_ids: Sequence[str]) -> None:
        """These were acknowledged."""
        ...

    def left_lying(self, rows_max: int) -> AbstractAsyncContextManager[list[OutboxRow]]:
        """Rows older than the fast path needs, that nobody else holds; deleted when the block ends without an error."""
        ...

    async def size(self) -> tuple[int, float]:
        """How many rows there are, and the age in seconds of the oldest."""
        ...


class PostgresOutbox:
    """See `OutboxTable`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def forget(self, event_ids: Sequence[str]) -> None:
        """These were acknowledged."""
        async with borrowed(self._pool) as connection:
            await connection.execute("DELETE FROM outbox WHERE event_id = ANY($1::text[])", list(event_ids))

    @asynccontextmanager
    async def left_lying(self, rows_max: int) -> AsyncIterator[list[OutboxRow]]:
        """The rows stay locked while the block runs, so that two replicas do not publish the same."""
        async with borrowed(self._pool) as connection, connection.transaction():
            found = await connection.fetch(
                "SELECT event_id, topic, partition, key, type, at_ms, correlation_id, value FROM outbox"
                f" WHERE created_at < now() - interval '{SWEEP_AGE}'"
                " ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED",
                rows_max,
            )
            rows = [OutboxRow(**dict(row)) for row in found]
            yield rows
            if rows:
                await connection.execute(
                    "DELETE FROM outbox WHERE event_id = ANY($1::text[])", [row.event_id for row in rows]
                )

    async def size(self) -> tuple[int, float]:
        """How many facts wait, and since when."""
        async with borrowed(self._pool) as connection:
            left = await connection.fetchrow(
                "SELECT count(*) AS rows, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest_s"
                " FROM outbox"
            )
        assert left is not None, "an aggregate has a row"
        return left["rows"], left["oldest_s"]


class Outbox:
    """The relay of one service process."""

    def __init__(self, *, table: OutboxTable, publisher: Publisher, producer: str, topic_prefix: str) -> None:
        self._table = table
        self._publisher = publisher
        self._producer = producer
        self._prefix = topic_prefix
        self._handed_over: deque[OutboxRow] = deque()
        self._published: list[str] = []
        self._wake = asyncio.Event()

    def hand_over(self, rows: Sequence[OutboxRow]) -> None:
        """Publish these soon; they are committed already."""
        room = HANDED_OVER_MAX - len(self._handed_over)
        self._handed_over.extend(rows[:room])
        self._wake.set()

    async def run(self) -> None:
        """Publish and sweep until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish_handed_over())
            tasks.create_task(self._sweep_for_ever())

    async def _publish_handed_over(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._handed_over:
                rows = [self._handed_over.popleft() for _ in range(min(PUBLISH_MAX, len(self._handed_over)))]
                try:
                    await self._publisher.publish([self._record(row) for row in rows])
                except Retryable as why:
                    log.warning("outbox_left_to_the_sweeper", rows=len(rows), why=str(why))
                    continue
                self._published.extend(row.event_id for row in rows)
                metrics.outbox_published.labels("at once").inc(len(rows))

    async def _sweep_for_ever(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            rounds += 1
            try:
                metrics.outbox_published.labels("swept").inc(await self.sweep())
                if rounds % MEASURE_EVERY == 0:
                    await self.measure()
            except Retryable as why:
                log.warning("outbox_sweep_failed", why=str(why))

    async def sweep(self) -> int:
        """Forget what was published, publish what was left lying; returns how many rows that were."""
        published, self._published = self._published, []
        if published:
            await self._table.forget(published)
        async with self._table.left_lying(PUBLISH_MAX) as rows:
            if rows:
                await self._publisher.publish([self._record(row) for row in rows])
        return len(rows)

    async def measure(self) -> None:
        """How many facts wait, and since when."""
        rows, oldest_s = await self._table.size()
        metrics.outbox_rows.set(rows)
        metrics.outbox_oldest_seconds.set(oldest_s)

    def _record(self, row: OutboxRow) -> Outgoing:
        envelope = Envelope(
            event_id=row.event_id,
            type=row.type,
            occurred_at_ms=row.at_ms,
            key=row.key,
            producer=self._producer,
            correlation_id=row.correlation_id,
        )
        return Outgoing(
            topic=self._prefix + row.topic,
            partition=row.partition,
            key=row.key,
            headers=to_headers(envelope),
            value=row.value,
        )
