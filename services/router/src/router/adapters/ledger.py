"""The ledger on PostgreSQL: one raw connection that holds the shard's lock, one statement a batch."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import msgspec

from common.contracts.config import QueueDefined
from common.contracts.contacts import Requirement
from common.contracts.policies import QueuePolicy
from common.runtime import locks
from common.runtime.bus import Incoming, Place
from common.runtime.database import AWAY, open_connection
from common.runtime.failures import Retryable
from common.runtime.following import reason_shown
from router.core.index.state import ENDED_REMEMBERED_MS, State
from router.core.model.queue import Queue
from router.sharding.ports import Batch, Diverged, Fenced, LogLine, Reign
from router.sharding.rebuilding import rebuild
from router.translate import queue_from

CLOSE_TIMEOUT_S = 2.0
LOCK_TRIES, LOCK_AGAIN_S = 20, 0.025
"""A session that was ended lets go of its lock within moments; after half a second somebody else holds it."""

COMMIT = "SELECT commit_batch($1, $2, $3, $4, $5::jsonb, $6::jsonb)"
TAKE = "SELECT * FROM take_shard($1, $2)"
QUEUE_COLUMNS = (
    "queue_id, pool, version, requirements::text, priority, offer_timeout_ms, wrap_up_ms, link_grace_ms,"
    " service_level_ms, policy::text"
)


class PostgresLedger:
    """One shard's tables. Made by `take`; `close` gives the shard back."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", shard: int) -> None:
        self._connection = connection
        self._shard = shard

    async def rebuild(self, *, now_ms: int, got_on: Callable[[], None] = lambda: None) -> State:
        """The core's state as it was last committed."""
        queues = await self._connection.fetch(f"SELECT {QUEUE_COLUMNS} FROM queue WHERE shard = $1", self._shard)
        agents = await self._connection.fetch("SELECT agent_id, doc FROM agent WHERE shard = $1", self._shard)
        ended = await self._connection.fetch(
            "SELECT contact_id, ended_at_ms FROM contact WHERE shard = $1 AND ended_at_ms > $2 ORDER BY ended_at_ms",
            self._shard,
            now_ms - ENDED_REMEMBERED_MS,
        )
        contacts = await self._connection.fetch(
            "SELECT doc FROM contact WHERE shard = $1 AND ended_at_ms IS NULL ORDER BY contact_id", self._shard
        )
        elsewhere = await self.elsewhere([row["agent_id"] for row in agents])
        return await rebuild(
            queues=[_queue(row) for row in queues],
            agents=[row["doc"] for row in agents],
            contacts=[row["doc"] for row in contacts],
            ended={row["contact_id"]: row["ended_at_ms"] for row in ended},
            now_ms=now_ms,
            elsewhere=elsewhere,
            got_on=got_on,
        )

    async def commit(self, reign: Reign, batch: Batch) -> None:
        """See `router.sharding.ports.Ledger`."""
        offsets = {f"{place.topic}/{place.partition}": at for place, at in reign.offsets.items()}
        try:
            await self._connection.execute(
                COMMIT,
                reign.shard,
                reign.epoch,
                reign.last_seq,
                reign.published_seq,
                msgspec.json.encode(offsets).decode(),
                _as_json(batch),
            )
        except asyncpg.IntegrityConstraintViolationError as why:
            raise Diverged(str(why)) from why
        except AWAY as why:
            raise Retryable(f"commit: {why!r}") from why
        except asyncpg.PostgresError as why:
            if why.sqlstate == "PL001":
                raise Fenced(str(why)) from why
            raise Diverged(str(why)) from why
        reign.last_seq += len(batch.log)

    async def queue(self, queue_id: str) -> Queue | None:
        """A queue that the core does not know yet."""
        row = await self._connection.fetchrow(
            f"SELECT {QUEUE_COLUMNS} FROM queue WHERE queue_id = $1",
            queue_id,
        )
        return None if row is None else _queue(row)

    async def known(self, contact_ids: Sequence[str]) -> set[str]:
        """Those of the contacts that this router took in before, live or ended."""
        rows = await self._connection.fetch(
            "SELECT contact_id FROM contact WHERE contact_id = ANY($1::text[])", list(contact_ids)
        )
        return {row["contact_id"] for row in rows}

    async def elsewhere(self, agent_ids: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Units that contacts of other shards take of these agents; who has none such is left out."""
        rows = await self._connection.fetch(
            "SELECT agent_id, array_agg(unit_no ORDER BY unit_no) AS numbers FROM unit_use"
            " WHERE agent_id = ANY($1::text[]) AND shard <> $2 GROUP BY agent_id",
            list(agent_ids),
            self._shard,
        )
        return {row["agent_id"]: tuple(row["numbers"]) for row in rows}

    async def unpublished(self, reign: Reign, *, after_seq: int, lines_max: int) -> list[LogLine]:
        """Committed lines after `after_seq`, oldest first."""
        rows = await self._connection.fetch(
            "SELECT seq, l.epoch, type, at_ms, key, body, c.doc"
            " FROM routing_log l LEFT JOIN contact c ON c.contact_id = l.key"
            " WHERE l.shard = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            reign.shard,
            after_seq,
            lines_max,
        )
        return [_line(dict(row)) for row in rows]

    async def park(self, record: Incoming) -> None:
        """Put aside what cannot be read; the partition goes on."""
        await self._connection.execute(
            "INSERT INTO parked (topic, partition, record_offset, reason, value) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT DO NOTHING",
            record.topic,
            record.partition,
            record.offset,
            reason_shown(record.bad),
            record.value,
        )

    async def close(self) -> None:
        """Give the lock back by ending the session."""
        try:
            await self._connection.close(timeout=CLOSE_TIMEOUT_S)
        except AWAY:
            self._connection.terminate()


async def take(dsn: str, *, shard: int, owner: str, topics: Sequence[str]) -> tuple[PostgresLedger, Reign] | None:
    """Begin a new reign over the shard; None when another session holds its lock. Raises `Retryable`."""
    connection = await open_connection(dsn, name=f"router-shard-{shard}")
    try:
        for _ in range(LOCK_TRIES):
            if await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", locks.SHARDS, shard):
                break
            await asyncio.sleep(LOCK_AGAIN_S)
        else:
            await connection.close(timeout=CLOSE_TIMEOUT_S)
            return None
        row = await connection.fetchrow(TAKE, shard, owner)
    except BaseException as why:  # cancelled, too: nobody else knows the connection, and it may hold the lock
        connection.terminate()
        if isinstance(why, AWAY):
            raise Retryable(f"take: {why!r}") from why
        raise
    assert row is not None, f"shard {shard} has no lease row"
    stored = msgspec.json.decode(row["input_offsets"], type=dict[str, int])
    reign = Reign(
        shard=shard,
        epoch=row["epoch"],
        last_seq=row["last_seq"],
        published_seq=row["published_seq"],
        offsets={Place(topic=topic, partition=shard): stored.get(f"{topic}/{shard}", 0) for topic in topics},
    )
    return PostgresLedger(connection, shard), reign


class _Correlated(msgspec.Struct):
    correlation: str = ""


_correlated = msgspec.json.Decoder(_Correlated)


def _line(row: dict[str, Any]) -> LogLine:
    """A line of the log with its contact's correlation id; without it where the contact cannot be read."""
    doc = row.pop("doc")
    try:
        correlation = "" if doc is None else _correlated.decode(doc).correlation
    except (msgspec.MsgspecError, RecursionError):
        correlation = ""
    return LogLine(**row, correlation=correlation)


def _queue(row: asyncpg.Record) -> Queue:
    return queue_from(queue_defined(dict(row)))


def queue_defined(row: dict[str, Any]) -> QueueDefined:
    """The fact that says how a queue is, from its row with JSON as text."""
    values = dict(row)
    pairs = msgspec.json.decode(values.pop("requirements"), type=list[tuple[str, int]])
    return QueueDefined(
        queue=values.pop("queue_id"),
        requirements=tuple(Requirement(skill=skill, min_level=level) for skill, level in pairs),
        policy=msgspec.json.decode(values.pop("policy"), type=QueuePolicy),
        **values,
    )


LOGGED = ("seq", "type", "at_ms", "key", "body")


def _as_json(batch: Batch) -> str:
    return msgspec.json.encode(
        {
            "log": [{name: getattr(line, name) for name in LOGGED} for line in batch.log],
            "new_contacts": batch.new_contacts,
            "contacts": batch.contacts,
            "agents": [{"agent_id": agent_id, "doc": doc} for agent_id, doc in batch.agents],
            "capacities": batch.capacities,
            "released": [
                {"contact_id": contact_id, "attempt": attempt, "at_ms": at_ms}
                for contact_id, attempt, at_ms in batch.released
            ],
            "accepted": [{"contact_id": contact_id, "attempt": attempt} for contact_id, attempt in batch.accepted],
            "units": batch.units,
            "assigned": batch.assigned,
        }
    ).decode()
