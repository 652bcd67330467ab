"""Sessions, leases and commands on PostgreSQL. Leases are measured by the database's clock alone."""

from collections.abc import Sequence

import asyncpg
import msgspec
import structlog

from agent_presence.domain import TELL_AGAIN_MS, Command, Kept, Session, command_fact, picture, target_of
from common.contracts import agents
from common.contracts.topics import AGENTS, shard_of
from common.runtime import locks
from common.runtime.clock import Clock, StepWatch, monotonic_s
from common.runtime.database import Pool, borrowed
from common.runtime.outbox import OutboxRow, columns, insert, outbox_row

log = structlog.get_logger()

SWEEP_MAX = 500
"""Leases ended at one go; the rest waits for the next sweep."""
POOLS_MAX = 50_000
"""Sessions whose pool is remembered; beyond it all are forgotten and asked for again."""

_PICTURE = "s.agent_id, s.session_no, s.seq, s.presence, a.pool, a.skills::text, a.units,"
_PICTURE += " s.link_score, a.traits::text, a.limits::text"
HOLD_AGENT = "SELECT 1 FROM agent WHERE agent_id = $1 FOR SHARE"
"""Before a sign-in, in a statement of its own: a change of the agent that is under way is waited for, and what follows sees it."""
SIGN_IN = f"""
INSERT INTO session AS s (agent_id, session_no, seq, presence, lease_expires_at)
SELECT agent_id, 1, 1, $2, now() + $3 * interval '1 second' FROM agent WHERE agent_id = $1 AND enabled FOR SHARE
ON CONFLICT (agent_id) DO UPDATE SET session_no = s.session_no + 1, seq = s.seq + 1, presence = excluded.presence,
   lease_expires_at = excluded.lease_expires_at, ended_at = NULL, end_reason = NULL
RETURNING (SELECT row_to_json(r)::text FROM (SELECT {_PICTURE} FROM agent a WHERE a.agent_id = s.agent_id) r)
"""
CHANGE = f"""
UPDATE session s SET presence = coalesce($3, s.presence), link_score = coalesce($5, s.link_score), seq = s.seq + 1,
       lease_expires_at = CASE WHEN $4::float8 IS NULL THEN s.lease_expires_at
                               ELSE now() + $4 * interval '1 second' END
  FROM agent a WHERE a.agent_id = s.agent_id AND a.enabled AND s.agent_id = $1 AND s.ended_at IS NULL
   AND ($2::int IS NULL OR s.session_no = $2)
RETURNING {_PICTURE}
"""
END_ANY = f"""
UPDATE session s SET presence = 'offline', seq = s.seq + 1, ended_at = now(), end_reason = :reason
  FROM agent a WHERE a.agent_id = s.agent_id AND s.agent_id = :agent_id AND s.ended_at IS NULL
RETURNING {_PICTURE}
"""
"""Whichever session the agent has; for SQLAlchemy."""
END = f"""
UPDATE session s SET presence = 'offline', seq = s.seq + 1, ended_at = now(), end_reason = $3
  FROM agent a WHERE a.agent_id = s.agent_id AND s.agent_id = $1 AND s.session_no = $2 AND s.ended_at IS NULL
RETURNING {_PICTURE}
"""
EXPIRE = f"""
UPDATE session s SET presence = 'offline', seq = s.seq + 1, ended_at = now(), end_reason = 'lease_expired'
  FROM agent a WHERE a.agent_id = s.agent_id AND s.agent_id IN (
    SELECT agent_id FROM session WHERE ended_at IS NULL AND lease_expires_at < now() ORDER BY agent_id LIMIT $1 FOR UPDATE)
RETURNING {_PICTURE}
"""
RENEW_ALL = "UPDATE session SET lease_expires_at = now() + $1 * interval '1 second' WHERE ended_at IS NULL"
TAKE_TURN = "SELECT pg_try_advisory_xact_lock($1), extract(epoch FROM clock_timestamp())::float8"
RENEW = """
WITH present AS (
  SELECT s.agent_id FROM session s JOIN unnest($1::text[], $2::int[]) AS given(agent_id, session_no) USING (agent_id, session_no)
    JOIN agent a USING (agent_id) WHERE a.enabled AND s.ended_at IS NULL ORDER BY s.agent_id FOR UPDATE OF s
)
UPDATE session s SET lease_expires_at = now() + $3 * interval '1 second' FROM present WHERE s.agent_id = present.agent_id
RETURNING s.agent_id
"""
"""Rows are locked in the order of their ids: statements of two replicas, or of requests and held polls, never wait in a circle."""
KEEP = """
WITH given AS (
  SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::int[], $7::bigint[], $16::text[])
    AS t(agent_id, command_id, session_no, verb, contact_id, attempt, issued_at_ms, target)
), fresh AS (
  INSERT INTO command (agent_id, command_id, session_no, verb, contact_id, attempt, issued_at_ms, target)
  SELECT g.* FROM given g JOIN session s ON s.agent_id = g.agent_id AND s.session_no = g.session_no
     AND s.ended_at IS NULL JOIN agent a ON a.agent_id = g.agent_id AND a.enabled ORDER BY g.agent_id, g.command_id
  ON CONFLICT DO NOTHING RETURNING agent_id, command_id
), announced AS (
  INSERT INTO outbox (event_id, topic, partition, key, type, at_ms, correlation_id, value)
  SELECT o.event_id, o.topic, o.partition, o.key, o.type, o.at_ms, o.correlation_id, o.value
    FROM unnest($8::text[], $9::text[], $10::int[], $11::text[], $12::text[], $13::bigint[], $14::text[], $15::bytea[],
                $2::text[]) AS o(event_id, topic, partition, key, type, at_ms, correlation_id, value, command_id)
    JOIN fresh f ON f.command_id = o.command_id AND f.agent_id = o.key
)
SELECT agent_id, command_id FROM fresh
"""
KNOWN = """
SELECT c.agent_id, c.command_id, c.verb, c.contact_id, c.attempt, c.target, c.outcome, c.issued_at_ms FROM command c
  JOIN unnest($1::text[], $2::text[]) AS asked(agent_id, command_id)
    ON asked.agent_id = c.agent_id AND asked.command_id = c.command_id
"""


class PostgresSessions:
    """See `agent_presence.ports.Sessions`. Leases are measured by the database's clock alone."""

    def __init__(self, pool: Pool, *, clock: Clock, lease_s: float) -> None:
        self._pool = pool
        self._clock = clock
        self._lease_s = lease_s
        self._pools: dict[tuple[str, int], str] = {}
        self._steps = StepWatch()

    async def sign_in(self, agent_id: str, presence: agents.Presence) -> tuple[Session, list[OutboxRow]] | None:
        """A new session, which fences the one before; None when there is no such agent, or it is disabled."""
        async with borrowed(self._pool) as connection, connection.transaction():
            await connection.execute(HOLD_AGENT, agent_id)
            text = await connection.fetchval(SIGN_IN, agent_id, presence, self._lease_s)
            if text is None:
                return None
            session = _session(msgspec.json.decode(text, type=dict[str, object]))
            row = _row(agents.SessionStarted(**picture(session, at_ms=self._clock.now_ms())))  # type: ignore[arg-type]
            await insert(connection, [row])
        return session, [row]

    async def change(
        self,
        agent_id: str,
        *,
        session_no: int | None,
        presence: agents.Presence | None = None,
        link_score: int | None = None,
    ) -> tuple[Session, list[OutboxRow]] | None:
        """Tell the router the agent's picture anew (of any session when `session_no` is None); None: no session."""
        lease_s = None if session_no is None else self._lease_s
        async with borrowed(self._pool) as connection, connection.transaction():
            found = await connection.fetchrow(CHANGE, agent_id, session_no, presence, lease_s, link_score)
            if found is None:
                return None
            session = _session(dict(found))
            row = _row(agents.PresenceChanged(**picture(session, at_ms=self._clock.now_ms())))  # type: ignore[arg-type]
            await insert(connection, [row])
        return session, [row]

    async def sign_out(self, agent_id: str, session_no: int) -> list[OutboxRow] | None:
        """End the session; None when it is over already."""
        async with borrowed(self._pool) as connection, connection.transaction():
            found = await connection.fetchrow(END, agent_id, session_no, "signed_out")
            if found is None:
                return None
            row = ended_row(dict(found), "signed_out", at_ms=self._clock.now_ms())
            await insert(connection, [row])
        return [row]

    async def expire(self) -> list[OutboxRow]:
        """End every session whose lease ran out. One replica at a time does it.

        When the database's clock was set, or our machine slept, leases say nothing: every session has one more.
        """
        async with borrowed(self._pool) as connection, connection.transaction():
            asked_s = monotonic_s()
            is_ours, now_s = await connection.fetchrow(TAKE_TURN, locks.SWEEPS)  # type: ignore[misc]
            stepped_s = self._steps.look(asked_s, now_s, monotonic_s())
            if stepped_s:
                log.warning("database_clock_stepped", by_s=round(stepped_s))
                await connection.execute(RENEW_ALL, self._lease_s)
                return []
            if not is_ours:
                return []
            found = await connection.fetch(EXPIRE, SWEEP_MAX)
            rows = [ended_row(dict(one), "lease_expired", at_ms=self._clock.now_ms()) for one in found]
            if rows:
                await insert(connection, rows)
        return rows

    async def renew(self, given: Sequence[tuple[str, int]]) -> list[bool]:
        """Renew many leases in one statement; False for a session that is over."""
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(
                RENEW, [agent_id for agent_id, _ in given], [number for _, number in given], self._lease_s
            )
        alive = {row["agent_id"] for row in rows}
        return [agent_id in alive for agent_id, _ in given]

    async def pool_of(self, agent_id: str, session_no: int) -> str | None:
        """The agent's pool, which is fixed for the length of a session; None when the session is over."""
        known = self._pools.get((agent_id, session_no))
        if known is not None:
            return known
        async with borrowed(self._pool) as connection:
            found = await connection.fetchval(
                "SELECT a.pool FROM agent a JOIN session s USING (agent_id)"
                " WHERE agent_id = $1 AND session_no = $2 AND ended_at IS NULL AND enabled",
                agent_id,
                session_no,
            )
        if found is None:
            return None
        if len(self._pools) >= POOLS_MAX:
            self._pools.clear()
        self._pools[agent_id, session_no] = str(found)
        return str(found)

    async def keep(self, commands: Sequence[Command]) -> list[tuple[Kept, str | None, OutboxRow]]:
        """Keep commands in one statement: what became of each, its outcome if known, and its outbox row.

        One that is repeated and has had no answer for `TELL_AGAIN_MS` is told to the router again, which does it once.
        """
        rows = [self._command_row(command) for command in commands]
        given = [
            [getattr(command, name) for command in commands]
            for name in (
                "agent_id",
                "command_id",
                "session_no",
                "verb",
                "contact_id",
                "attempt",
                "issued_at_ms",
            )
        ]
        async with borrowed(self._pool) as connection:
            targets = [target_of(command) for command in commands]
            found = await connection.fetch(KEEP, *given, *columns(rows), targets)
            fresh = {(row["agent_id"], row["command_id"]) for row in found}
            known: dict[tuple[str, str], asyncpg.Record] = {}
            if len(fresh) < len(commands):
                found = await connection.fetch(KNOWN, given[0], given[1])
                known = {(row["agent_id"], row["command_id"]): row for row in found}
            kept = [(*_kept(command, fresh, known), row) for command, row in zip(commands, rows, strict=True)]
            late = [
                row
                for command, (what, outcome, row) in zip(commands, kept, strict=True)
                if what is Kept.REPEATED and outcome is None and _is_late(command, known)
            ]
            if late:
                await insert(connection, late)
        return kept

    def _command_row(self, command: Command) -> OutboxRow:
        return outbox_row(
            command_fact(command),
            topic=AGENTS.name,
            partition=shard_of(command.pool),
            key=command.agent_id,
            at_ms=command.issued_at_ms,
        )


def ended_row(found: dict[str, object], reason: agents.SessionEnd, *, at_ms: int) -> OutboxRow:
    """The fact that a session ended, from what the statement that ended it returned."""
    fields = picture(_session(found), at_ms=at_ms)
    return _row(agents.SessionEnded(**fields, reason=reason))  # type: ignore[arg-type]


def _row(fact: agents.AgentPicture) -> OutboxRow:
    return outbox_row(fact, topic=AGENTS.name, partition=shard_of(fact.pool), key=fact.agent_id, at_ms=fact.at_ms)


def _kept(
    command: Command, fresh: set[tuple[str, str]], known: dict[tuple[str, str], asyncpg.Record]
) -> tuple[Kept, str | None]:
    key = (command.agent_id, command.command_id)
    if key in fresh:
        return Kept.FRESH, None
    row = known.get(key)
    if row is None:
        return Kept.SESSION_OVER, None
    same = (row["verb"], row["contact_id"], row["attempt"]) == (
        command.verb,
        command.contact_id,
        command.attempt,
    )
    same = same and row["target"] in (None, target_of(command))
    return (Kept.REPEATED, row["outcome"]) if same else (Kept.REUSED, None)


def _is_late(command: Command, known: dict[tuple[str, str], asyncpg.Record]) -> bool:
    first_ms = known[command.agent_id, command.command_id]["issued_at_ms"]
    return command.issued_at_ms - int(first_ms) >= TELL_AGAIN_MS


def _session(row: dict[str, object]) -> Session:
    decoded = {name: row[name] for name in ("skills", "traits", "limits")}
    for name, value in decoded.items():
        if isinstance(value, str):
            decoded[name] = msgspec.json.decode(value)
    return msgspec.convert({**row, **decoded}, Session)
