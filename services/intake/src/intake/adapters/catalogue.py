"""Queues, skills and API keys that exist: read from our own tables, remembered for a moment."""

import hmac
from collections.abc import Sequence

from common.runtime.clock import monotonic_s
from common.runtime.database import Pool, borrowed
from intake.domain import key_hash, split_key

REMEMBERED_S = 2.0
"""How old what we remember may be: a change of a queue or a revoked key counts after that."""
KEYS_MAX = 10_000


class PostgresCatalogue:
    """See `intake.ports.Catalogue`. What is not remembered is looked up at once."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._queues: dict[str, tuple[str, int]] = {}
        self._skills: set[str] = set()
        self._read_at = -REMEMBERED_S

    async def queue(self, queue_id: str) -> tuple[str, int] | None:
        """Pool and default priority."""
        if queue_id not in self._queues or monotonic_s() - self._read_at > REMEMBERED_S:
            await self._read()
        return self._queues.get(queue_id)

    async def missing_skills(self, skills: Sequence[str]) -> list[str]:
        """Those of `skills` that nobody defined."""
        if not self._skills.issuperset(skills):
            await self._read()
        return sorted(set(skills) - self._skills)

    async def _read(self) -> None:
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch("SELECT queue_id, pool, priority FROM queue")
            skills = await connection.fetch("SELECT skill FROM skill")
        self._queues = {row["queue_id"]: (row["pool"], row["priority"]) for row in rows}
        self._skills = {row["skill"] for row in skills}
        self._read_at = monotonic_s()


class ApiKeys:
    """Whose key a credential is."""

    def __init__(self, pool: Pool, *, pepper: str) -> None:
        self._pool = pool
        self._pepper = pepper
        self._found: dict[str, tuple[str, bytes, float]] = {}

    async def client_of(self, credential: str) -> str | None:
        """The client, or None for a key that is unknown, wrong or revoked."""
        parts = split_key(credential)
        if parts is None:
            return None
        key_id, secret = parts
        known = self._found.get(key_id)
        if known is None or monotonic_s() - known[2] > REMEMBERED_S:
            async with borrowed(self._pool) as connection:
                row = await connection.fetchrow(
                    "SELECT client_id, hash FROM api_key WHERE key_id = $1 AND revoked_at IS NULL", key_id
                )
            if row is None:
                self._found.pop(key_id, None)
                return None
            if len(self._found) >= KEYS_MAX:
                self._found.clear()
            known = self._found[key_id] = (row["client_id"], row["hash"], monotonic_s())
        client, stored, _ = known
        return client if hmac.compare_digest(stored, key_hash(secret=secret, pepper=self._pepper)) else None


async def store_key(pool: Pool, *, key_id: str, client_id: str, secret_hash: bytes) -> None:
    """Keep what is needed to recognise a key."""
    async with borrowed(pool) as connection:
        await connection.execute(
            "INSERT INTO api_key (key_id, client_id, hash) VALUES ($1, $2, $3)",
            key_id,
            client_id,
            secret_hash,
        )
