"""An administrator moves an agent to another pool at the very moment in which the agent signs in."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from agent_presence.adapters.directory import PostgresDirectory
from agent_presence.adapters.sessions import PostgresSessions
from agent_presence.domain import Profile
from common.contracts.agents import SessionStarted
from common.contracts.codec import decode
from common.runtime.clock import SystemClock
from common.runtime.database import Pool, open_engine, open_pool
from common.testing.eventually import eventually
from tests.integration.conftest import Place


class Desk:
    """An agent of pool p who may sign in, and an administrator who may move them to pool q."""

    def __init__(
        self,
        pool: Pool,
        engine: AsyncEngine,
        owner: "asyncpg.Connection[asyncpg.Record]",
        watch: "asyncpg.Connection[asyncpg.Record]",
    ) -> None:
        self.owner, self.watch = owner, watch
        self.sessions = PostgresSessions(pool, clock=SystemClock(), lease_s=10.0)
        self.directory = PostgresDirectory(engine, SystemClock())
        self.refused = False

    async def sign_in(self) -> None:
        assert await self.sessions.sign_in("ann", "available") is not None

    async def move(self) -> None:
        profile = Profile(agent_id="ann", pool="q", skills={}, units=6, enabled=True, traits={})
        self.refused = await self.directory.put_agent(profile, actor="admin") is None

    async def pools(self) -> tuple[str, str]:
        """The pool that the router was told of, and the one that is written down."""
        fact = decode("agent.session_started", await self.owner.fetchval("SELECT value FROM outbox"))
        assert isinstance(fact, SessionStarted)
        return fact.pool, await self.owner.fetchval("SELECT pool FROM agent")

    @asynccontextmanager
    async def halted(self, table: str) -> AsyncIterator[None]:
        """Whoever writes into the table waits, in the middle of a transaction, until the block is left."""
        async with self.owner.transaction():
            await self.owner.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield

    async def waiting(self) -> int:
        found: int = await self.watch.fetchval(
            "SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE NOT granted AND datname = current_database()"
        )
        return found


@pytest.fixture
async def desk(place: Place) -> AsyncIterator[Desk]:
    owner = await asyncpg.connect(place.owners["agent-presence"])
    await owner.execute("TRUNCATE session, agent, command, outbox CASCADE")
    await owner.execute("INSERT INTO agent VALUES ('ann', 'p', '{}', 6, true)")
    pool = await open_pool(place.dsns["agent-presence"], name="t", size=3)
    engine = open_engine(place.dsns["agent-presence"], name="t", size=3)
    watch = await asyncpg.connect(place.owners["agent-presence"])
    yield Desk(pool, engine, owner, watch)
    await pool.close()
    await engine.dispose()
    await owner.close()
    await watch.close()


async def one_within_the_other(
    desk: Desk, table: str, first: Coroutine[Any, Any, None], second: Coroutine[Any, Any, None]
) -> None:
    """The first waits in the middle of its transaction; the second is done, or waits too, before the first goes on."""

    async def first_waits() -> bool:
        return await desk.waiting() == 1

    async with asyncio.TaskGroup() as tasks, desk.halted(table):
        tasks.create_task(first)
        await eventually(first_waits, what="the first waits")
        later = tasks.create_task(second)

        async def second_is_done_or_waits() -> bool:
            return later.done() or await desk.waiting() == 2

        await eventually(second_is_done_or_waits, what="the second is done or waits")


async def test_an_agent_who_is_just_signing_in_is_not_moved(desk: Desk) -> None:
    await one_within_the_other(desk, "outbox", desk.sign_in(), desk.move())

    assert desk.refused and await desk.pools() == ("p", "p")


async def test_an_agent_who_is_just_being_moved_signs_in_where_they_are_then(desk: Desk) -> None:
    await one_within_the_other(desk, "audit", desk.move(), desk.sign_in())

    assert not desk.refused and await desk.pools() == ("q", "q")
