"""API keys: whose a credential is, and making, listing, replacing, changing and ending them, each with its line in the audit."""

import asyncio
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog

from common.runtime.clock import monotonic_s
from common.runtime.database import Connection, Pool, borrowed
from common.runtime.failures import Retryable
from intake.domain import KEY_PREFIX, KeyHolder, KeyRefused, key_hash, split_key

log = structlog.get_logger()

REMEMBERED_S = 2.0
"""How old what we remember of a key may be: a key that was revoked, replaced or changed counts after that, on every replica."""
KEYS_MAX = 10_000
"""Keys that are remembered; beyond it all are forgotten and looked up again."""
NOTE_USE_EVERY_S = 60.0

LOOK_UP = """
SELECT client_id, hash, scopes, revoked_at IS NOT NULL AS is_revoked, coalesce(expires_at <= now(), false) AS is_expired,
       CASE WHEN previous_until > now() THEN previous_hash END AS previous_hash
  FROM api_key WHERE key_id = $1
"""
SHOWN = """
key_id, client_id AS client, scopes, created_at, expires_at, rotated_at, previous_until, last_used_at, revoked_at,
CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired' ELSE 'active' END AS state
"""
USED = """
UPDATE api_key k SET last_used_at = now() FROM (SELECT key_id FROM api_key WHERE key_id = ANY($1::text[])
 ORDER BY key_id FOR UPDATE) AS used WHERE k.key_id = used.key_id
"""
AUDIT = "INSERT INTO audit (actor, action, subject, detail) VALUES ($1, $2, $3, $4)"


class _Known(NamedTuple):
    row: Any
    read_s: float


class PostgresKeys:
    """See `intake.ports.Keys`."""

    def __init__(self, pool: Pool, *, pepper: str) -> None:
        self._pool = pool
        self._pepper = pepper
        self._known: dict[str, _Known] = {}
        self._used: set[str] = set()

    async def holder_of(self, credential: str) -> KeyHolder | KeyRefused:
        """See `intake.ports.Keys`."""
        parts = split_key(credential)
        if parts is None:
            return KeyRefused(reason="malformed", key_id="")
        key_id, secret = parts
        row = await self._row(key_id)
        if row is None:
            return KeyRefused(reason="unknown", key_id="")
        given = key_hash(secret=secret, pepper=self._pepper)
        is_present = hmac.compare_digest(row["hash"], given)
        is_previous = hmac.compare_digest(row["previous_hash"] or b"", given)  # both are compared, whatever comes out
        if not (is_present or is_previous):
            return KeyRefused(reason="secret", key_id=key_id)
        if row["is_revoked"] or row["is_expired"]:
            return KeyRefused(reason="revoked" if row["is_revoked"] else "expired", key_id=key_id)
        if len(self._used) < KEYS_MAX:
            self._used.add(key_id)
        return KeyHolder(client_id=row["client_id"], key_id=key_id, scopes=frozenset(row["scopes"]))

    async def _row(self, key_id: str) -> Any:
        known = self._known.get(key_id)
        if known is None or monotonic_s() - known.read_s > REMEMBERED_S:
            async with borrowed(self._pool) as connection:
                row = await connection.fetchrow(LOOK_UP, key_id)
            if row is None:
                self._known.pop(key_id, None)
                return None
            if len(self._known) >= KEYS_MAX:
                self._known.clear()
            known = self._known[key_id] = _Known(row, monotonic_s())
        return known.row

    async def run(self) -> None:
        """Write down from time to time which keys were used, until cancelled."""
        while True:
            await asyncio.sleep(NOTE_USE_EVERY_S)
            try:
                await self.note_use()
            except Retryable as why:
                log.warning("use_of_keys_not_noted", why=str(why))

    async def note_use(self) -> None:
        """Write down that the keys that were used since the last time were used. Raises `Retryable`."""
        used, self._used = sorted(self._used), set()
        if used:
            async with borrowed(self._pool) as connection:
                await connection.execute(USED, used)

    async def make(
        self, *, client: str, scopes: Sequence[str], expires_at: datetime | None, actor: str
    ) -> tuple[str, dict[str, Any]]:
        """See `intake.ports.Keys`."""
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        hashed = key_hash(secret=secret, pepper=self._pepper)
        async with borrowed(self._pool) as connection, connection.transaction():
            row = await connection.fetchrow(
                "INSERT INTO api_key (key_id, client_id, hash, scopes, expires_at) VALUES ($1, $2, $3, $4, $5)"
                f" RETURNING {SHOWN}",
                *(key_id, client, hashed, sorted(scopes), expires_at),
            )
            until = "" if expires_at is None else f" until {expires_at.isoformat()}"
            await connection.execute(
                AUDIT, actor, "key.create", key_id, f"{client}: {', '.join(sorted(scopes))}{until}"
            )
        assert row is not None, "an insert returns its row"
        return f"{KEY_PREFIX}_{key_id}_{secret}", dict(row)

    async def page(self, *, after: str, limit: int) -> list[dict[str, Any]]:
        """See `intake.ports.Keys`."""
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(
                f"SELECT {SHOWN} FROM api_key WHERE key_id > $1 ORDER BY key_id LIMIT $2", after, limit
            )
        return [dict(row) for row in rows]

    async def rotate(self, key_id: str, *, grace: timedelta, actor: str) -> tuple[str, dict[str, Any]] | None:
        """See `intake.ports.Keys`."""
        secret = secrets.token_urlsafe(32)
        hashed = key_hash(secret=secret, pepper=self._pepper)
        async with borrowed(self._pool) as connection, connection.transaction():
            row = await _changed(
                connection,
                "UPDATE api_key SET previous_hash = hash, previous_until = now() + $3, hash = $2, rotated_at = now()"
                " WHERE key_id = $1 AND revoked_at IS NULL AND coalesce(expires_at > now(), true)",
                *(key_id, hashed, grace),
            )
            if row is None:
                return None
            await connection.execute(AUDIT, actor, "key.rotate", key_id, f"the secret of before is valid for {grace}")
        return f"{KEY_PREFIX}_{key_id}_{secret}", row

    async def change(
        self, key_id: str, *, scopes: Sequence[str], expires_at: datetime | None, actor: str
    ) -> dict[str, Any] | None:
        """See `intake.ports.Keys`."""
        async with borrowed(self._pool) as connection, connection.transaction():
            row = await _changed(
                connection,
                "UPDATE api_key SET scopes = $2, expires_at = $3 WHERE key_id = $1 AND revoked_at IS NULL",
                *(key_id, sorted(scopes), expires_at),
            )
            if row is not None:
                until = "" if expires_at is None else f" until {expires_at.isoformat()}"
                await connection.execute(AUDIT, actor, "key.change", key_id, f"{', '.join(sorted(scopes))}{until}")
        return row

    async def revoke(self, key_id: str, *, actor: str) -> dict[str, Any] | None:
        """See `intake.ports.Keys`."""
        async with borrowed(self._pool) as connection, connection.transaction():
            row = await _changed(
                connection, "UPDATE api_key SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL", key_id
            )
            if row is not None:
                await connection.execute(AUDIT, actor, "key.revoke", key_id, "")
                return row
            found = await connection.fetchrow(f"SELECT {SHOWN} FROM api_key WHERE key_id = $1", key_id)
        return None if found is None else dict(found)


async def _changed(connection: Connection, statement: str, *values: object) -> dict[str, Any] | None:
    row = await connection.fetchrow(f"{statement} RETURNING {SHOWN}", *values)
    return None if row is None else dict(row)
