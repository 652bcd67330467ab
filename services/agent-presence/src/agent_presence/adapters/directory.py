"""Agents and skills as administrators define them, on SQLAlchemy Core."""

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agent_presence.adapters.sessions import END_ANY, ended_row
from agent_presence.domain import Profile
from common.contracts.agents import SessionEnd
from common.contracts.config import SkillDefined
from common.contracts.topics import CONFIG
from common.runtime.audit import audited
from common.runtime.clock import Clock
from common.runtime.database import reading, writing
from common.runtime.outbox import OutboxRow, outbox_row

metadata = sa.MetaData()
skill_table = sa.Table(
    "skill", metadata, sa.Column("skill", sa.Text, primary_key=True), sa.Column("version", sa.Integer)
)
agent_table = sa.Table(
    "agent",
    metadata,
    sa.Column("agent_id", sa.Text, primary_key=True),
    sa.Column("pool", sa.Text),
    sa.Column("skills", JSONB),
    sa.Column("units", sa.Integer),
    sa.Column("enabled", sa.Boolean),
    sa.Column("traits", JSONB),
    sa.Column("limits", JSONB),
)
session_table = sa.Table(
    "session",
    metadata,
    sa.Column("agent_id", sa.Text, primary_key=True),
    sa.Column("session_no", sa.Integer),
    sa.Column("presence", sa.Text),
    sa.Column("link_score", sa.Integer),
    sa.Column("started_at", sa.DateTime(timezone=True)),
    sa.Column("ended_at", sa.DateTime(timezone=True)),
)
routing_table = sa.Table(
    "agent_routing",
    metadata,
    sa.Column("agent_id", sa.Text, primary_key=True),
    sa.Column("session_no", sa.Integer),
    sa.Column("routing_state", sa.Text),
    sa.Column("reason", sa.Text),
)
outbox_table = sa.Table("outbox", metadata, *(sa.Column(name) for name in OutboxRow.__struct_fields__))


class PostgresDirectory:
    """See `agent_presence.ports.Directory`."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def put_skill(self, skill: str, *, actor: str) -> list[OutboxRow]:
        """Define a skill; defining it again tells everybody again."""
        statement = (
            insert(skill_table)
            .values(skill=skill, version=1)
            .on_conflict_do_update(index_elements=["skill"], set_={"version": skill_table.c.version + 1})
            .returning(skill_table.c.version)
        )
        async with writing(self._engine) as connection:
            version = (await connection.execute(statement)).scalar_one()
            event = outbox_row(
                SkillDefined(skill=skill, version=version),
                topic=CONFIG.name,
                partition=0,
                key=f"skill/{skill}",
                at_ms=self._clock.now_ms(),
            )
            await connection.execute(_announced(event))
            await connection.execute(audited(actor, "skill.put", skill))
        return [event]

    async def skills(self) -> list[str]:
        """Every skill."""
        async with reading(self._engine) as connection:
            return list((await connection.execute(sa.select(skill_table.c.skill).order_by("skill"))).scalars())

    async def put_agent(self, profile: Profile, *, actor: str) -> list[OutboxRow] | None:
        """One transaction: nobody is disabled and still signed in. The agent's row is locked before the session's: a sign-in that
        is under way is waited for and seen, one that comes later sees us.
        """
        row = {
            "agent_id": profile.agent_id,
            "pool": profile.pool,
            "skills": profile.skills,
            "units": profile.units,
            "enabled": profile.enabled,
            "traits": profile.traits,
        }
        changes = {name: value for name, value in row.items() if name != "agent_id"}
        signed_in = (
            sa.select(session_table.c.agent_id)
            .where(session_table.c.agent_id == profile.agent_id, session_table.c.ended_at.is_(None))
            .exists()
        )
        statement = (
            insert(agent_table)
            .values(row)
            .on_conflict_do_update(
                index_elements=["agent_id"],
                set_=changes,
                where=sa.or_(agent_table.c.pool == profile.pool, ~signed_in),
            )
            .returning(agent_table.c.agent_id)
        )
        lock = sa.select(agent_table.c.agent_id).where(agent_table.c.agent_id == profile.agent_id).with_for_update()
        async with writing(self._engine) as connection:
            told: list[OutboxRow] = []
            await connection.execute(lock)
            if not profile.enabled:
                of_agent = agent_table.c.agent_id == profile.agent_id
                await connection.execute(sa.update(agent_table).where(of_agent).values(enabled=False))
                told = await self._end_session(connection, profile.agent_id, "disabled")
            if (await connection.execute(statement)).scalar_one_or_none() is None:
                return None
            detail = msgspec.json.encode(changes).decode()
            await connection.execute(audited(actor, "agent.put", profile.agent_id, detail))
        return told

    async def end_session(self, agent_id: str, *, actor: str) -> list[OutboxRow]:
        """See the port."""
        async with writing(self._engine) as connection:
            told = await self._end_session(connection, agent_id, "signed_out_by_supervisor")
            if told:
                await connection.execute(audited(actor, "session.end", agent_id))
        return told

    async def _end_session(self, connection: AsyncConnection, agent_id: str, reason: SessionEnd) -> list[OutboxRow]:
        ending = {"agent_id": agent_id, "reason": reason}
        rows = (await connection.execute(sa.text(END_ANY), ending)).mappings().all()
        told = [ended_row(dict(row), reason, at_ms=self._clock.now_ms()) for row in rows]
        for row in told:
            await connection.execute(_announced(row))
        return told

    async def put_limits(self, agent_id: str, limits: dict[str, Any], *, actor: str) -> bool:
        """Breaks, shift and hours of an agent; False when there is no such agent."""
        statement = sa.update(agent_table).where(agent_table.c.agent_id == agent_id).values(limits=limits)
        async with writing(self._engine) as connection:
            done = bool((await connection.execute(statement)).rowcount)
            if done:
                await connection.execute(audited(actor, "limits.put", agent_id, msgspec.json.encode(limits).decode()))
            return done

    async def get_agent(self, agent_id: str) -> dict[str, Any] | None:
        """An agent and its presence."""
        async with reading(self._engine) as connection:
            rows = await _agents(connection, agent_table.c.agent_id == agent_id, limit=1)
        return rows[0] if rows else None

    async def list_agents(self, *, after: str, limit: int) -> list[dict[str, Any]]:
        """Agents in the order of their ids."""
        async with reading(self._engine) as connection:
            return await _agents(connection, agent_table.c.agent_id > after, limit=limit)


def _announced(row: OutboxRow) -> sa.Insert:
    return sa.insert(outbox_table).values({name: getattr(row, name) for name in OutboxRow.__struct_fields__})


async def _agents(connection: AsyncConnection, where: sa.ColumnElement[bool], *, limit: int) -> list[dict[str, Any]]:
    session, routing = session_table.c, routing_table.c
    alive = sa.and_(session.agent_id == agent_table.c.agent_id, session.ended_at.is_(None))
    routed = sa.and_(routing.agent_id == session.agent_id, routing.session_no == session.session_no)
    statement = (
        sa.select(
            agent_table,
            sa.func.coalesce(session.presence, "offline").label("presence"),
            sa.func.coalesce(routing.routing_state, "offline").label("routing_state"),
            sa.func.coalesce(routing.reason, "").label("routing_reason"),
            session.link_score.label("link_score"),
            session.started_at.label("session_since"),
        )
        .select_from(agent_table.outerjoin(session_table, alive).outerjoin(routing_table, routed))
        .where(where)
        .order_by(agent_table.c.agent_id)
        .limit(limit)
    )
    return [dict(row) for row in (await connection.execute(statement)).mappings()]
