"""Writing the read models: load what a batch of facts is about, fold in memory, write it back in bulk."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from common.contracts import agents, codec, config, contacts, routing
from common.runtime.bus import Incoming
from common.runtime.database import Connection
from reporting.domain import ContactRow, Folded, Segment, begin, fold

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


@dataclass(slots=True)
class _Work:
    """What a batch changes."""

    folded: dict[str, Folded] = field(default_factory=dict)
    closed: list[Segment] = field(default_factory=list)
    steps: list[tuple[object, ...]] = field(default_factory=list)


async def apply(connection: Connection, records: Sequence[Incoming]) -> None:
    """The effect of the facts, inside the caller's transaction."""
    work = _Work()
    about = {r.fact.contact_id for r in records if isinstance(r.fact, routing.RoutingFactBase)}
    await _load(connection, work, sorted(about))
    for record in records:
        match record.fact:
            case routing.RoutingFactBase():
                _take(work, record)
            case agents.AgentPicture() as fact:
                await connection.execute(
                    PUT_STAY,
                    fact.agent_id,
                    fact.session_no,
                    fact.seq,
                    fact.pool,
                    fact.presence,
                    fact.units,
                    fact.at_ms,
                )
            case contacts.ContactSubmitted() as fact:
                await connection.execute(PUT_SUBMISSION, fact.contact_id, fact.queue, fact.accepted_at_ms)
            case config.QueueDefined() as fact:
                await connection.execute(PUT_QUEUE, fact.queue, fact.pool, fact.version, fact.service_level_ms)
    await _write(connection, work)


async def _load(connection: Connection, work: _Work, about: list[str]) -> None:
    if not about:
        return
    rows = await connection.fetch("SELECT * FROM contact WHERE contact_id = ANY($1::text[])", about)
    segments = await connection.fetch(
        "SELECT * FROM segment WHERE contact_id = ANY($1::text[]) AND ended_at_ms IS NULL", about
    )
    still_open = {row["contact_id"]: Segment(**dict(row)) for row in segments}
    for row in rows:
        contact = ContactRow(**dict(row))
        work.folded[contact.contact_id] = Folded(contact=contact, open=still_open.get(contact.contact_id))


def _take(work: _Work, record: Incoming) -> None:
    fact = record.fact
    assert isinstance(fact, routing.RoutingFactBase) and record.envelope is not None
    work.steps.append(
        (
            record.partition,
            record.envelope.sequence,
            fact.contact_id,
            fact.at_ms,
            codec.type_of(fact),
            getattr(fact, "attempt", None),
            getattr(fact, "agent_id", None),
            getattr(fact, "reason", None),
        )
    )
    before = work.folded.get(fact.contact_id)
    if isinstance(fact, routing.ContactQueued) and before is None:
        after = begin(fact)
    elif before is None:
        return  # its beginning is older than what Kafka kept when we first started
    else:
        after = fold(before, fact)
    work.folded[fact.contact_id] = after
    if after.closed is not None:
        work.closed.append(after.closed)


async def _write(connection: Connection, work: _Work) -> None:
    touched = {step[2] for step in work.steps}
    folded = [one for contact_id, one in sorted(work.folded.items()) if contact_id in touched]
    if work.steps:
        await connection.executemany(PUT_STEP, work.steps)
    if folded:
        await connection.executemany(PUT_CONTACT, [_values(one.contact, _CONTACT) for one in folded])
    segments = [*work.closed, *(one.open for one in folded if one.open is not None)]
    if segments:
        await connection.executemany(PUT_SEGMENT, [_values(one, _SEGMENT) for one in segments])


def _values(row: ContactRow | Segment, names: list[str]) -> list[object]:
    return [getattr(row, name) for name in names]
