"""What the owner of a shard knows from memory: waits and traces. Any instance answers; it asks the owner where it must."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import httpx
import msgspec
import structlog

from common.runtime.clock import Clock
from common.runtime.database import Pool, borrowed
from common.runtime.failures import Retryable
from router.core.queries.explain import explain
from router.sharding.worker import Shard

log = structlog.get_logger()

ASK_TIMEOUT_S = 2.0
LINES_MAX = 200
"""Decisions of a trace; older ones are left out, and the answer says so."""
ASKED = "X-Porchlight-Asked"
OWNER = """
SELECT c.shard, c.state, i.url FROM contact c JOIN shard_lease l ON l.shard = c.shard
  LEFT JOIN router_instance i ON i.instance_id = l.owner WHERE c.contact_id = $1
"""
IS_ROUTER = "SELECT 1 FROM router_instance WHERE instance_id = $1"
LINES = "SELECT type, at_ms, body FROM routing_log WHERE shard = $1 AND key = $2 ORDER BY seq DESC LIMIT $3"


class Views:
    """Answers about single contacts."""

    def __init__(
        self, *, me: str, pool: Pool, shards: Mapping[int, Shard], clock: Clock, http: httpx.AsyncClient
    ) -> None:
        self._me = me
        self._pool = pool
        self._shards = shards
        self._clock = clock
        self._http = http

    async def wait(self, contact_id: str, headers: Mapping[str, str]) -> dict[str, Any] | None:
        """Position and estimate; None for an unknown contact. Raises `Retryable` when its owner cannot be asked."""
        found = await self._owner(contact_id)
        if found is None:
            return None
        shard_no, state, url = found
        shard = self._shards.get(shard_no)
        if shard is None or not shard.is_ready:
            return await self._ask(url, f"/v1/contacts/{contact_id}/wait", headers)
        told = shard.forecast(contact_id)
        if told is None:
            return {"contact_id": contact_id, "state": state, "as_of_ms": self._clock.now_ms()}
        return {"contact_id": contact_id, "state": "queued", "as_of_ms": told.at_ms, **asdict(told.estimate)}

    async def trace(self, contact_id: str, headers: Mapping[str, str]) -> dict[str, Any] | None:
        """Decisions and reasons; None for an unknown contact. Raises `Retryable` when its owner cannot be asked."""
        found = await self._owner(contact_id)
        if found is None:
            return None
        shard_no, state, url = found
        shard = self._shards.get(shard_no)
        if shard is None or not shard.is_ready:
            return await self._ask(url, f"/v1/contacts/{contact_id}/routing-trace", headers)
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(LINES, shard_no, contact_id, LINES_MAX + 1)
        live = shard.contact(contact_id)
        return {
            "contact_id": contact_id,
            "state": state,
            "as_of_ms": self._clock.now_ms(),
            "decisions": [_decision(dict(row)) for row in reversed(rows[:LINES_MAX])],
            "is_cut": len(rows) > LINES_MAX,
            "now": None if live is None else asdict(explain(shard.state, live)),
        }

    async def _owner(self, contact_id: str) -> tuple[int, str, str] | None:
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow(OWNER, contact_id)
        return None if row is None else (row["shard"], row["state"], row["url"] or "")

    async def _asks_for_another(self, headers: Mapping[str, str]) -> bool:
        """Whether a router asks, which would ask on in a circle. The name of a living one is its own secret; nobody else's word
        counts."""
        name = headers.get(ASKED, "")
        if not name:
            return False
        async with borrowed(self._pool) as connection:
            return await connection.fetchval(IS_ROUTER, name) is not None

    async def _ask(self, url: str, path: str, headers: Mapping[str, str]) -> dict[str, Any] | None:
        if not url or await self._asks_for_another(headers):
            raise Retryable("nobody reigns over the contact's shard at this moment")
        try:
            answer = await self._http.get(
                url + path,
                headers={"Authorization": headers.get("authorization", ""), ASKED: self._me},
                timeout=ASK_TIMEOUT_S,
            )
        except httpx.HTTPError as why:
            raise Retryable(f"the owner of the shard did not answer: {why!r}") from why
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise Retryable(f"the owner of the shard answered {answer.status_code}")
        return dict(answer.json())


def _decision(row: dict[str, Any]) -> dict[str, Any]:
    body = msgspec.json.decode(row["body"])
    for name in ("type", "contact_id", "at_ms"):
        body.pop(name, None)
    return {"type": row["type"], "at_ms": row["at_ms"], **body}
