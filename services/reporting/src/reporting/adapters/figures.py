"""Reading the figures, on SQLAlchemy. Each formula has an id, and stands here once."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.runtime.database import reading

FORMULAS = {
    "service_level": "sl.1: answered within the threshold / (answered + abandoned)",
    "asa": "asa.1: mean of (first answer - acceptance) over answered contacts",
    "aht": "aht.1: mean over answered contacts of the time with agents, wrap-up included",
    "occupancy": "occ.1: capacity-unit time in use / capacity-unit time of signed-in agents, in the queue's pool",
}

SUMMARY = sa.text("""
SELECT count(*) AS offered,
       count(answered_at_ms) AS answered,
       count(*) FILTER (WHERE state = 'abandoned' AND answered_at_ms IS NULL) AS abandoned,
       count(*) FILTER (WHERE state = 'cancelled' AND answered_at_ms IS NULL) AS cancelled,
       count(*) FILTER (WHERE state = 'expired' AND answered_at_ms IS NULL) AS expired,
       count(*) FILTER (WHERE state = 'overflowed' AND answered_at_ms IS NULL) AS overflowed,
       count(*) FILTER (WHERE ended_at_ms IS NULL AND answered_at_ms IS NULL) AS waiting,
       count(*) FILTER (WHERE answered_at_ms - accepted_at_ms <= :threshold_ms) AS in_time,
       avg(answered_at_ms - accepted_at_ms) AS asa_ms,
       coalesce(max(coalesce(answered_at_ms, ended_at_ms) - accepted_at_ms), 0) AS longest_wait_ms
  FROM contact WHERE queue = :queue AND accepted_at_ms >= :from_ms AND accepted_at_ms < :to_ms
""")
HANDLING = sa.text("""
SELECT avg(handled) AS aht_ms FROM (
  SELECT sum(s.ended_at_ms - s.started_at_ms) AS handled
    FROM contact c JOIN segment s USING (contact_id)
   WHERE c.queue = :queue AND c.accepted_at_ms >= :from_ms AND c.accepted_at_ms < :to_ms
     AND c.state = 'completed' AND s.kind = 'agent'
   GROUP BY c.contact_id) per_contact
""")
OCCUPANCY = sa.text("""
SELECT (SELECT coalesce(sum(units * (least(coalesce(ended_at_ms, :now_ms), :to_ms) - greatest(started_at_ms, :from_ms))), 0)
          FROM segment WHERE kind = 'agent' AND pool = :pool AND started_at_ms < :to_ms
           AND coalesce(ended_at_ms, :now_ms) > :from_ms) AS used,
       (SELECT coalesce(sum(units * (least(coalesce(ended_at_ms, :now_ms), :to_ms) - greatest(started_at_ms, :from_ms))), 0)
          FROM stay WHERE pool = :pool AND presence <> 'offline' AND started_at_ms < :to_ms
           AND coalesce(ended_at_ms, :now_ms) > :from_ms) AS staffed
""")
AS_OF = sa.text("SELECT coalesce(extract(epoch FROM min(read_at)) * 1000, 0)::bigint FROM progress")
BY_QUEUE = sa.text("""
SELECT q.queue_id, count(c.contact_id) AS offered, count(c.answered_at_ms) AS answered,
       count(*) FILTER (WHERE c.state = 'abandoned' AND c.answered_at_ms IS NULL) AS abandoned,
       count(*) FILTER (WHERE c.contact_id IS NOT NULL AND c.ended_at_ms IS NULL AND c.answered_at_ms IS NULL) AS waiting,
       count(*) FILTER (WHERE c.answered_at_ms - c.accepted_at_ms <= q.service_level_ms) AS in_time,
       avg(c.answered_at_ms - c.accepted_at_ms) AS asa_ms
  FROM queue q LEFT JOIN contact c ON c.queue = q.queue_id AND c.accepted_at_ms >= :from_ms
 GROUP BY q.queue_id ORDER BY q.queue_id LIMIT 200
""")
STATUS = sa.text("""
SELECT q.queue_id, q.pool, count(c.contact_id) AS offered, count(c.answered_at_ms) AS answered,
       count(*) FILTER (WHERE c.state = 'abandoned') AS abandoned,
       count(*) FILTER (WHERE c.contact_id IS NOT NULL AND c.ended_at_ms IS NULL AND c.answered_at_ms IS NULL) AS waiting,
       count(*) FILTER (WHERE c.ended_at_ms IS NULL AND c.answered_at_ms IS NOT NULL) AS with_agents
  FROM queue q LEFT JOIN contact c ON c.queue = q.queue_id AND c.accepted_at_ms >= :from_ms
 GROUP BY q.queue_id, q.pool ORDER BY q.queue_id LIMIT 200
""")


class PostgresFigures:
    """See `reporting.ports.Figures`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def summary(self, queue: str, *, from_ms: int, to_ms: int, now_ms: int) -> dict[str, Any] | None:
        """Figures of the contacts that a queue got in an interval; None for a queue that nobody defined."""
        async with reading(self._engine) as connection:
            known = (
                await connection.execute(
                    sa.text("SELECT pool, service_level_ms FROM queue WHERE queue_id = :queue"),
                    {"queue": queue},
                )
            ).one_or_none()
            if known is None:
                return None
            given = {"queue": queue, "from_ms": from_ms, "to_ms": to_ms}
            counts = await _one(connection, SUMMARY, {**given, "threshold_ms": known.service_level_ms})
            handling = await _one(connection, HANDLING, given)
            use = await _one(
                connection,
                OCCUPANCY,
                {"pool": known.pool, "from_ms": from_ms, "to_ms": min(to_ms, now_ms), "now_ms": now_ms},
            )
            as_of_ms = (await connection.execute(AS_OF)).scalar_one()
        in_time, judged = counts.pop("in_time"), counts["answered"] + counts["abandoned"]
        return {
            "queue": queue,
            **counts,
            "asa_ms": _number(counts["asa_ms"]),
            "service_level": in_time / judged if judged else None,
            "service_level_ms": known.service_level_ms,
            "aht_ms": _number(handling["aht_ms"]),
            "occupancy": float(use["used"] / use["staffed"]) if use["staffed"] else None,
            "formulas": FORMULAS,
            "as_of_ms": as_of_ms,
        }

    async def journey(self, contact_id: str) -> dict[str, Any] | None:
        """Everything that happened to a contact, in order; None for one that nobody heard of."""
        given = {"id": contact_id}
        async with reading(self._engine) as connection:
            submission = await _rows(connection, "SELECT * FROM submission WHERE contact_id = :id", given)
            contact = await _rows(connection, "SELECT * FROM contact WHERE contact_id = :id", given)
            steps = await _rows(
                connection,
                "SELECT at_ms, type, attempt, agent_id, reason FROM step WHERE contact_id = :id ORDER BY seq",
                given,
            )
            segments = await _rows(connection, "SELECT * FROM segment WHERE contact_id = :id ORDER BY no", given)
            as_of_ms = (await connection.execute(AS_OF)).scalar_one()
        if not submission and not contact:
            return None
        known = contact[0] if contact else {**submission[0], "state": "accepted"}
        return {"contact": known, "steps": steps, "segments": segments, "as_of_ms": as_of_ms}

    async def by_queue(self, *, from_ms: int) -> tuple[list[dict[str, Any]], int]:
        """Counts, service level and mean wait of all queues since `from_ms`, by one pass over their contacts."""
        async with reading(self._engine) as connection:
            rows = [dict(r) for r in (await connection.execute(BY_QUEUE, {"from_ms": from_ms})).mappings()]
            as_of_ms = (await connection.execute(AS_OF)).scalar_one()
        for row in rows:
            judged = row["answered"] + row["abandoned"]
            row["service_level"] = row.pop("in_time") / judged if judged else None
            row["asa_ms"] = _number(row["asa_ms"])
        return rows, as_of_ms

    async def status(self, *, from_ms: int) -> tuple[list[dict[str, Any]], int]:
        """All queues at a glance, and up to when the facts are in."""
        async with reading(self._engine) as connection:
            rows = [dict(r) for r in (await connection.execute(STATUS, {"from_ms": from_ms})).mappings()]
            return rows, (await connection.execute(AS_OF)).scalar_one()


async def _one(connection: AsyncConnection, statement: sa.TextClause, given: dict[str, Any]) -> dict[str, Any]:
    return dict((await connection.execute(statement, given)).mappings().one())


async def _rows(connection: AsyncConnection, statement: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in (await connection.execute(sa.text(statement), given)).mappings()]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
