"""Lease rows and instance counters on PostgreSQL, over one connection of their own."""

from collections.abc import Sequence

import asyncpg

from common.runtime import locks
from common.runtime.database import open_connection
from router.adapters.ledger import CLOSE_TIMEOUT_S
from router.sharding.assignment import Lease

LOOK = """
SELECT shard, owner, renew_counter, EXISTS (
         SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::bigint::oid AND objid = shard::oid AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locked
  FROM shard_lease ORDER BY shard
"""
RENEW = """
WITH me AS (
  INSERT INTO router_instance (instance_id, renew_counter, url) VALUES ($1, 1, $4)
  ON CONFLICT (instance_id) DO UPDATE SET renew_counter = router_instance.renew_counter + 1)
UPDATE shard_lease l SET renew_counter = l.renew_counter + 1
  FROM unnest($2::int[], $3::bigint[]) AS mine(shard, epoch) WHERE l.shard = mine.shard AND l.epoch = mine.epoch
RETURNING l.shard
"""


class PostgresLeases:
    """See `router.sharding.ports.Leases`."""

    def __init__(self, *, dsn: str, me: str, url: str = "") -> None:
        self._dsn = dsn
        self._url = url
        self._me = me
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def look(self) -> tuple[list[Lease], dict[str, int], set[str]]:
        """Every lease, every instance's counter, and the instances that were asked to give their shards back."""
        connection = await self._open()
        leases = [Lease(**dict(row)) for row in await connection.fetch(LOOK, locks.SHARDS)]
        instances = await connection.fetch("SELECT instance_id, renew_counter, draining FROM router_instance")
        draining = {row["instance_id"] for row in instances if row["draining"]}
        return leases, {row["instance_id"]: row["renew_counter"] for row in instances}, draining

    async def renew(self, epochs: dict[int, int]) -> set[int]:
        """Show that we live, for ourselves and for each shard under our epoch; returns the shards that are still ours."""
        connection = await self._open()
        rows = await connection.fetch(RENEW, self._me, list(epochs), list(epochs.values()), self._url)
        return {row["shard"] for row in rows}

    async def break_open(self, shards: Sequence[int]) -> None:
        """End the sessions of owners that stand still; their locks go with them, a moment later."""
        connection = await self._open()
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND classid = $1::bigint::oid AND objid::bigint = ANY($2::bigint[])"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            locks.SHARDS,
            list(shards),
        )

    async def forget_instance(self, name: str) -> None:
        """Delete the row of an instance that is gone."""
        connection = await self._open()
        await connection.execute("DELETE FROM router_instance WHERE instance_id = $1", name)

    async def forget_connection(self) -> None:
        """The connection is no good: the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Leave: take no share any more."""
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.execute("DELETE FROM router_instance WHERE instance_id = $1", self._me)
            await self._connection.close(timeout=CLOSE_TIMEOUT_S)

    async def _open(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None:
            self._connection = await open_connection(self._dsn, name="router-leases", durable=False)
        return self._connection
