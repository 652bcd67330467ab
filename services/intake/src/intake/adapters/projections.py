"""Tables that follow the facts of others, and the repetition of what nobody confirmed."""

from collections.abc import Mapping
from dataclasses import astuple

import msgspec

from common.contracts.config import QueueDefined
from common.runtime.database import Connection, Pool, borrowed
from common.runtime.outbox import OutboxRow, insert
from intake.domain import PAUSE_MAX_MS, KnownSession, Receipt, Standing, Wishes
from intake.translate import callback, cancellation, submission

RECONCILE_MAX = 500
"""Contacts repeated at one go; the rest waits for the next one."""


def _is_time(asked: str) -> str:
    """Whether it is time to repeat what was asked at the moment in the column `asked`, see `intake.domain.PAUSE_MAX_MS`."""
    waited = f"least(greatest(repeated_at_ms - {asked}, 0), {PAUSE_MAX_MS})"
    return f"({asked} < $1 AND repeated_at_ms < $1 - ({waited} * (1 + (hashtext(contact_id) & 511) / 1024.0))::bigint)"


UNCONFIRMED = f"""
SELECT contact_id, pool, queue, channel, priority, requirements::text, accepted_at_ms, routing::text,
       correlation_id
  FROM contact c
 WHERE state = 'accepted' AND {_is_time("accepted_at_ms")}
   AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.key = c.contact_id)
 ORDER BY accepted_at_ms LIMIT $2 FOR UPDATE SKIP LOCKED
"""
WISHING = f"""
SELECT contact_id, pool, callback_asked_ms, callback_not_before_ms, correlation_id FROM contact c
 WHERE callback_asked_ms > callback_granted_ms AND state IN ('accepted', 'scheduled', 'queued', 'offered')
   AND {_is_time("callback_asked_ms")} AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.key = c.contact_id)
 ORDER BY callback_asked_ms LIMIT $2 FOR UPDATE SKIP LOCKED
"""
LEAVING = f"""
SELECT contact_id, pool, cancel_reason, correlation_id FROM contact c
 WHERE cancel_at_ms IS NOT NULL AND state IN ('accepted', 'scheduled', 'queued', 'offered', 'assigned', 'paused', 'link_lost')
   AND {_is_time("cancel_at_ms")} AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.key = c.contact_id)
 ORDER BY cancel_at_ms LIMIT $2 FOR UPDATE SKIP LOCKED
"""
MOVE = """
UPDATE contact c SET state = s.state, state_at_ms = s.at_ms, attempt = greatest(c.attempt, s.attempt), agent_id = s.agent_id,
       present_queue = s.queue
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::int[], $5::text[], $6::text[])
    AS s(contact_id, state, at_ms, attempt, agent_id, queue)
 WHERE c.contact_id = s.contact_id
"""
"""`queue` stays the one that the POST was answered with; `present_queue` is null until a fact came since it was kept."""
KNOW_SESSIONS = """
INSERT INTO agent_session AS s (agent_id, session_no, is_over) SELECT * FROM unnest($1::text[], $2::int[], $3::boolean[])
ON CONFLICT (agent_id) DO UPDATE SET session_no = excluded.session_no, is_over = excluded.is_over
 WHERE s.session_no <= excluded.session_no
"""


class PostgresProjections:
    """See `intake.ports.Projections`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def know_queue(self, fact: QueueDefined) -> None:
        """A queue exists, unless we know a later version."""
        await self._connection.execute(
            "INSERT INTO queue (queue_id, pool, version, priority) VALUES ($1, $2, $3, $4) ON CONFLICT (queue_id)"
            " DO UPDATE SET pool = excluded.pool, version = excluded.version, priority = excluded.priority"
            " WHERE queue.version < excluded.version",
            fact.queue,
            fact.pool,
            fact.version,
            fact.priority,
        )

    async def know_skill(self, skill: str) -> None:
        """A skill exists."""
        await self._connection.execute("INSERT INTO skill (skill) VALUES ($1) ON CONFLICT DO NOTHING", skill)

    async def know_sessions(self, sessions: Mapping[str, KnownSession]) -> None:
        """See `intake.ports.Projections`."""
        if sessions:
            rows = [(agent_id, one.session_no, one.is_over) for agent_id, one in sorted(sessions.items())]
            await self._connection.execute(KNOW_SESSIONS, *[list(column) for column in zip(*rows, strict=True)])

    async def move_contacts(self, standings: Mapping[str, Standing]) -> None:
        """See `intake.ports.Projections`."""
        if standings:
            rows = sorted((contact_id, *astuple(one)) for contact_id, one in standings.items())
            await self._connection.execute(MOVE, *[list(column) for column in zip(*rows, strict=True)])

    async def grant_callbacks(self, granted: Mapping[str, int]) -> None:
        """Wishes that the router granted: contact and when it was wished."""
        if granted:
            await self._connection.execute(
                "UPDATE contact c SET callback_granted_ms = greatest(callback_granted_ms, g.asked_ms)"
                " FROM unnest($1::text[], $2::bigint[]) AS g(contact_id, asked_ms) WHERE c.contact_id = g.contact_id",
                sorted(granted),
                [asked_ms for _, asked_ms in sorted(granted.items())],
            )


class PostgresRepeats:
    """See `intake.ports.Repeats`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def repeat(self, *, before_ms: int, now_ms: int) -> int:
        """Submissions that nobody queued, wishes that nobody granted, and cancellations that ended nothing."""
        async with borrowed(self._pool) as connection, connection.transaction():
            rows = [_resubmission(dict(r)) for r in await connection.fetch(UNCONFIRMED, before_ms, RECONCILE_MAX)]
            rows += [
                callback(
                    contact_id=r["contact_id"],
                    pool=r["pool"],
                    not_before_ms=r["callback_not_before_ms"],
                    at_ms=r["callback_asked_ms"],
                    correlation_id=r["correlation_id"],
                )
                for r in await connection.fetch(WISHING, before_ms, RECONCILE_MAX)
            ]
            rows += [
                cancellation(
                    contact_id=r["contact_id"],
                    pool=r["pool"],
                    reason=r["cancel_reason"],
                    at_ms=now_ms,
                    correlation_id=r["correlation_id"],
                )
                for r in await connection.fetch(LEAVING, before_ms, RECONCILE_MAX)
            ]
            if rows:
                await connection.execute(
                    "UPDATE contact SET repeated_at_ms = $2 WHERE contact_id = ANY($1::text[])",
                    [row.key for row in rows],
                    now_ms,
                )
                await insert(connection, rows)
        return len(rows)


def _resubmission(row: dict[str, object]) -> OutboxRow:
    receipt = Receipt(
        contact_id=str(row["contact_id"]),
        queue=str(row["queue"]),
        channel=str(row["channel"]),
        priority=int(str(row["priority"])),
        accepted_at_ms=int(str(row["accepted_at_ms"])),
        replayed=False,
    )
    pairs = msgspec.json.decode(str(row["requirements"]), type=tuple[tuple[str, int], ...])
    wishes = msgspec.json.decode(str(row["routing"]), type=Wishes)
    return submission(
        receipt,
        pool=str(row["pool"]),
        requirements=pairs,
        correlation_id=str(row["correlation_id"]),
        wishes=wishes,
    )
