"""Reading the figures, on SQLAlchemy. Each formula has an id, and stands here once."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.runtime.database import reading

FORMULAS = {
    "service_level": "sl.2: stays answered within the threshold / (stays answered + stays abandoned)",
    "asa": "asa.2: mean of (answer - beginning) over answered stays; a stay begins when the contact is due in the queue",
    "aht": "aht.2: time with agents, pauses and wrap-up included, / conversations that ended; a lost line's stay is not in it",
    "occupancy": "occ.2: capacity-unit time in use by agents while they were signed in / capacity-unit time of signed-in agents,"
    " in the queue's pool; above 1 only where contacts exceeded or interrupted, or capacity was cut under them",
}
"""A stay is a segment of kind `queue`: it begins when a contact joins the queue, however it came, and ends when it leaves it."""

NEVER_MS = 9_223_372_036_854_775_807
"""Stands for the end of what has not ended, in two indexes."""

SUMMARY = sa.text("""
WITH stay AS (
  SELECT s.contact_id, s.started_at_ms, s.ended_at_ms, s.end_reason, s.ended_at_ms - s.started_at_ms AS waited_ms,
         c.channel = 'callback' OR coalesce(b.kind = 'scheduled', false) AS is_callback,
         coalesce(b.kind IN ('agent', 'paused') AND b.end_reason = 'transferred', false) AS is_transferred,
         coalesce(b.kind = 'queue', false) AS is_moved,
         coalesce(b.kind IN ('agent', 'paused') AND b.end_reason <> 'transferred', false) AS is_requeued
    FROM segment s JOIN contact c USING (contact_id) LEFT JOIN segment b ON b.contact_id = s.contact_id AND b.no = s.no - 1
   WHERE s.queue = :queue AND s.kind = 'queue' AND s.started_at_ms >= :from_ms AND s.started_at_ms < :to_ms
)
SELECT count(*) AS offered,
       count(*) FILTER (WHERE is_transferred) AS transferred_in,
       count(*) FILTER (WHERE is_moved) AS moved_in,
       count(*) FILTER (WHERE is_requeued) AS requeued,
       count(DISTINCT contact_id) AS contacts_offered,
       count(*) FILTER (WHERE end_reason = 'answered') AS answered,
       count(DISTINCT contact_id) FILTER (WHERE end_reason = 'answered') AS contacts_answered,
       count(*) FILTER (WHERE end_reason = 'customer_gave_up') AS abandoned,
       count(*) FILTER (WHERE end_reason = 'withdrawn') AS cancelled,
       count(*) FILTER (WHERE end_reason = 'expired') AS expired,
       count(*) FILTER (WHERE end_reason = 'overflow') AS moved_out,
       count(*) FILTER (WHERE end_reason = 'callback') AS put_off,
       count(*) FILTER (WHERE end_reason NOT IN
         ('', 'answered', 'customer_gave_up', 'withdrawn', 'expired', 'overflow', 'callback')) AS overflowed,
       count(*) FILTER (WHERE end_reason = 'answered' AND waited_ms <= :threshold_ms) AS in_time,
       avg(waited_ms) FILTER (WHERE end_reason = 'answered') AS asa_ms,
       coalesce(max(coalesce(ended_at_ms, :now_ms) - started_at_ms), 0) AS longest_wait_ms,
       count(*) FILTER (WHERE is_callback) AS callbacks_offered,
       count(*) FILTER (WHERE is_callback AND end_reason = 'answered') AS callbacks_answered,
       count(*) FILTER (WHERE is_callback AND end_reason = 'customer_gave_up') AS callbacks_abandoned,
       count(*) FILTER (WHERE is_callback AND end_reason = 'answered' AND waited_ms <= :threshold_ms) AS callbacks_in_time,
       avg(waited_ms) FILTER (WHERE is_callback AND end_reason = 'answered') AS callbacks_asa_ms
  FROM stay
""")
NOW = """
SELECT queue, count(*) FILTER (WHERE kind = 'queue') AS waiting,
       count(*) FILTER (WHERE kind IN ('agent', 'paused')) AS with_agents,
       count(*) FILTER (WHERE kind = 'scheduled') AS scheduled,
       min(started_at_ms) FILTER (WHERE kind = 'queue') AS waiting_since_ms
  FROM segment WHERE ended_at_ms IS NULL{} GROUP BY queue
"""
NOW_IN = sa.text(NOW.format(" AND queue = :queue"))
BEFORE_DUE = sa.text("""
SELECT count(*) AS ended_before_due FROM segment
 WHERE queue = :queue AND kind = 'scheduled' AND ended_at_ms >= :from_ms AND ended_at_ms < :to_ms AND end_reason <> 'due'
""")
HANDLING = sa.text("""
SELECT sum(ended_at_ms - started_at_ms) / nullif(count(*) FILTER (WHERE end_reason NOT IN ('paused', 'resumed')), 0) AS aht_ms
  FROM segment
 WHERE queue = :queue AND kind IN ('agent', 'paused') AND started_at_ms >= :from_ms AND started_at_ms < :to_ms
   AND ended_at_ms IS NOT NULL AND end_reason NOT IN ('link_lost', 'no_first_response')
""")
# Level of what is in use and of what there is, agent by agent, from change to change.
OCCUPANCY = sa.text("""
WITH span AS (
  SELECT agent_id, 0 AS capacity, units AS used, greatest(started_at_ms, :from_ms) AS began_ms,
         least(coalesce(ended_at_ms, :now_ms), :to_ms) AS ended_ms
    FROM segment WHERE kind = 'agent' AND pool = :pool AND started_at_ms < :to_ms AND coalesce(ended_at_ms, :never_ms) > :from_ms
  UNION ALL
  SELECT agent_id, units, 0, greatest(started_at_ms, :from_ms), least(coalesce(ended_at_ms, :now_ms), :to_ms)
    FROM stay WHERE presence <> 'offline' AND pool = :pool AND started_at_ms < :to_ms
     AND coalesce(ended_at_ms, :never_ms) > :from_ms
), change AS (
  SELECT agent_id, began_ms AS at_ms, capacity, used FROM span WHERE began_ms < ended_ms
  UNION ALL SELECT agent_id, ended_ms, -capacity, -used FROM span WHERE began_ms < ended_ms
), level AS (
  SELECT lead(at_ms) OVER agent - at_ms AS lasted_ms, sum(capacity) OVER agent AS capacity, sum(used) OVER agent AS used
    FROM change WINDOW agent AS (PARTITION BY agent_id ORDER BY at_ms)
)
SELECT coalesce(sum(used * lasted_ms) FILTER (WHERE capacity > 0), 0) AS used, coalesce(sum(capacity * lasted_ms), 0) AS staffed
  FROM level
""")
AS_OF = sa.text("SELECT coalesce(extract(epoch FROM min(read_at)) * 1000, 0)::bigint FROM progress")
QUEUES_MAX = 200
"""Queues on the status page and in the metrics, the first by name."""
BY_QUEUE = sa.text(f"""
SELECT q.queue_id, q.pool, s.*, coalesce(n.waiting, 0) AS waiting, coalesce(n.with_agents, 0) AS with_agents,
       coalesce(n.scheduled, 0) AS scheduled, n.waiting_since_ms
  FROM (SELECT * FROM queue ORDER BY queue_id LIMIT {QUEUES_MAX}) q
  LEFT JOIN ({NOW.format("")}) n ON n.queue = q.queue_id
  CROSS JOIN LATERAL (
    SELECT count(*) AS offered,
           count(*) FILTER (WHERE end_reason = 'answered') AS answered,
           count(*) FILTER (WHERE end_reason = 'customer_gave_up') AS abandoned,
           count(*) FILTER (WHERE end_reason = 'answered' AND ended_at_ms - started_at_ms <= q.service_level_ms) AS in_time,
           avg(ended_at_ms - started_at_ms) FILTER (WHERE end_reason = 'answered') AS asa_ms
      FROM segment WHERE queue = q.queue_id AND kind = 'queue' AND started_at_ms >= :from_ms) s
 ORDER BY q.queue_id
""")


class PostgresFigures:
    """See `reporting.ports.Figures`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def summary(self, queue: str, *, from_ms: int, to_ms: int, now_ms: int) -> dict[str, Any] | None:
        """Figures of the stays that began in a queue in an interval, and of who is there now; None for an unknown queue."""
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
            judged = {**given, "now_ms": now_ms, "threshold_ms": known.service_level_ms}
            counts = await _one(connection, SUMMARY, judged)
            present = (await connection.execute(NOW_IN, {"queue": queue})).mappings().one_or_none()
            handling = await _one(connection, HANDLING, given)
            before_due = await _one(connection, BEFORE_DUE, given)
            bounds = {"from_ms": from_ms, "to_ms": min(to_ms, now_ms), "now_ms": now_ms, "never_ms": NEVER_MS}
            use = await _one(connection, OCCUPANCY, {"pool": known.pool, **bounds})
            as_of_ms = (await connection.execute(AS_OF)).scalar_one()
        now = dict(present) if present is not None else NOBODY_NOW
        if now["waiting_since_ms"] is not None:
            counts["longest_wait_ms"] = max(counts["longest_wait_ms"], now_ms - now["waiting_since_ms"])
        callbacks = {
            name: counts.pop(f"callbacks_{name}") for name in ("offered", "answered", "abandoned", "in_time", "asa_ms")
        }
        return {
            "queue": queue,
            **counts,
            "asa_ms": _number(counts["asa_ms"]),
            "service_level": _level(counts),
            "service_level_ms": known.service_level_ms,
            "waiting": now["waiting"],
            "with_agents": now["with_agents"],
            "aht_ms": _number(handling["aht_ms"]),
            "occupancy": float(use["used"] / use["staffed"]) if use["staffed"] else None,
            "callbacks": {
                **callbacks,
                **before_due,
                "scheduled": now["scheduled"],
                "service_level": _level(callbacks),
                "asa_ms": _number(callbacks["asa_ms"]),
            },
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
        """All queues at a glance: the stays that began since `from_ms`, and who is there now, however long already.

        Returned with up to when the facts are in it.
        """
        async with reading(self._engine) as connection:
            rows = [dict(r) for r in (await connection.execute(BY_QUEUE, {"from_ms": from_ms})).mappings()]
            as_of_ms = (await connection.execute(AS_OF)).scalar_one()
        for row in rows:
            row["service_level"] = _level(row)
            row["asa_ms"] = _number(row["asa_ms"])
        return rows, as_of_ms


NOBODY_NOW = {"waiting": 0, "with_agents": 0, "scheduled": 0, "waiting_since_ms": None}


def _level(counts: dict[str, Any]) -> float | None:
    """The service level of these counts, formula sl.2."""
    judged = counts["answered"] + counts["abandoned"]
    return counts["in_time"] / judged if judged else None


async def _one(connection: AsyncConnection, statement: sa.TextClause, given: dict[str, Any]) -> dict[str, Any]:
    return dict((await connection.execute(statement, given)).mappings().one())


async def _rows(connection: AsyncConnection, statement: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in (await connection.execute(sa.text(statement), given)).mappings()]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
