"""The read models on PostgreSQL."""

from collections.abc import Sequence
from dataclasses import fields

from common.contracts import agents, config, contacts
from common.runtime.database import Connection
from reporting.domain import ContactRow, Folded, Segment
from reporting.ports import Step

_CONTACT = [f.name for f in fields(ContactRow)]
_SEGMENT = [f.name for f in fields(Segment)]


def _upsert(table: str, names: list[str], key: list[str]) -> str:
    values = ", ".join(f"${n + 1}" for n in range(len(names)))
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"
    )


PUT_CONTACT = _upsert("contact", _CONTACT, ["contact_id"])
PUT_SEGMENT = _upsert("segment", _SEGMENT, ["contact_id", "no"])
PUT_STEP = (
    "INSERT INTO step (shard, seq, contact_id, at_ms, type, attempt, agent_id, reason)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
)
PUT_SUBMISSION = "INSERT INTO submission (contact_id, queue, accepted_at_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
PUT_QUEUE = (
    "INSERT INTO queue (queue_id, pool, version, service_level_ms) VALUES ($1, $2, $3, $4) ON CONFLICT (queue_id)"
    " DO UPDATE SET version = excluded.version, service_level_ms = excluded.service_level_ms"
    " WHERE queue.version < excluded.version"
)
# A stay ends where the agent's next one begins; an older picture that comes late opens nothing.
PUT_STAY = """
WITH last AS (
  SELECT session_no, seq FROM stay WHERE agent_id = $1 ORDER BY session_no DESC, seq DESC LIMIT 1
), newer AS (
  SELECT NOT EXISTS (SELECT 1 FROM last WHERE (session_no, seq) >= ($2, $3)) AS yes
), ended AS (
  UPDATE stay SET ended_at_ms = $7 FROM newer WHERE newer.yes AND stay.agent_id = $1 AND stay.ended_at_ms IS NULL
)
INSERT INTO stay (agent_id, session_no, seq, pool, presence, units, started_at_ms, ended_at_ms)
SELECT $1, $2, $3, $4, $5, $6, $7, CASE WHEN $5 = 'offline' THEN $7 END FROM newer WHERE newer.yes
ON CONFLICT DO NOTHING
"""


class PostgresReadModels:
    """See `reporting.ports.ReadModels`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def load(self, contact_ids: Sequence[str]) -> dict[str, Folded]:
        """Contacts with their open segments."""
        about = list(contact_ids)
        rows = await self._connection.fetch("SELECT * FROM contact WHERE contact_id = ANY($1::text[])", about)
        segments = await self._connection.fetch(
            "SELECT * FROM segment WHERE contact_id = ANY($1::text[]) AND ended_at_ms IS NULL", about
        )
        still_open = {row["contact_id"]: Segment(**dict(row)) for row in segments}
        contacts = [ContactRow(**dict(row)) for row in rows]
        return {one.contact_id: Folded(contact=one, open=still_open.get(one.contact_id)) for one in contacts}

    async def write(self, *, folded: Sequence[Folded], closed: Sequence[Segment], steps: Sequence[Step]) -> None:
        """In bulk."""
        if steps:
            await self._connection.executemany(PUT_STEP, steps)
        if folded:
            await self._connection.executemany(PUT_CONTACT, [_values(one.contact, _CONTACT) for one in folded])
        segments = [*closed, *(one.open for one in folded if one.open is not None)]
        if segments:
            await self._connection.executemany(PUT_SEGMENT, [_values(one, _SEGMENT) for one in segments])

    async def put_stay(self, fact: agents.AgentPicture) -> None:
        """An agent's stay in a presence begins, and the one before ends."""
        await self._connection.execute(
            PUT_STAY,
            fact.agent_id,
            fact.session_no,
            fact.seq,
            fact.pool,
            fact.presence,
            fact.units,
            fact.at_ms,
        )

    async def put_submission(self, fact: contacts.ContactSubmitted) -> None:
        """A contact was accepted."""
        await self._connection.execute(PUT_SUBMISSION, fact.contact_id, fact.queue, fact.accepted_at_ms)

    async def put_queue(self, fact: config.QueueDefined) -> None:
        """A queue is defined, unless a later version is known."""
        await self._connection.execute(PUT_QUEUE, fact.queue, fact.pool, fact.version, fact.service_level_ms)


def _values(row: ContactRow | Segment, names: list[str]) -> list[object]:
    return [getattr(row, name) for name in names]
