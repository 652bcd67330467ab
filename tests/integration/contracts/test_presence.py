"""What agent-presence's ports promise: the same suite in memory and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from agent_presence.adapters.directory import PostgresDirectory
from agent_presence.adapters.inbox_store import PostgresInboxes, PostgresInboxTables
from agent_presence.adapters.sessions import PostgresSessions
from agent_presence.domain import Command, Item, Kept, Profile, Standing
from agent_presence.ports import Directory, InboxTables, Sessions, StoredInboxes
from agent_presence.testing import (
    MemoryDirectory,
    MemoryInboxes,
    MemoryInboxTables,
    MemorySessions,
    PresenceTables,
)
from common.runtime.clock import SystemClock, monotonic_s
from common.runtime.database import open_engine, open_pool
from common.testing.database import MemoryServer
from common.testing.eventually import eventually
from common.testing.faults import GoodLine
from tests.integration.conftest import Place

ANN = Profile(agent_id="ann", pool="p", skills={"billing": 70}, units=6, enabled=True, traits={})
CONTACT = "00000000-0000-7000-8000-000000000001"
LEASE_S = 0.4


class Backend:
    """One database of agent-presence, whatever it is made of."""

    def __init__(self, sessions: Sessions, directory: Directory, stored: StoredInboxes, write: Any) -> None:
        self.sessions, self.directory, self.stored, self.write = sessions, directory, stored, write


@pytest.fixture(params=["memory", "postgres"])
async def backend(request: pytest.FixtureRequest, place: Place) -> AsyncIterator[Backend]:
    clock = SystemClock()
    if request.param == "memory":
        tables, line = PresenceTables(MemoryServer(monotonic_s)), GoodLine()

        async def write_here(work: Callable[[InboxTables], Any]) -> None:
            writes: list[Any] = []
            await work(MemoryInboxTables(tables, writes.append))
            for write in writes:
                write()

        sessions = MemorySessions(tables, line, clock=clock, lease_s=LEASE_S)
        directory = MemoryDirectory(tables, line, clock)
        yield Backend(sessions, directory, MemoryInboxes(tables, line), write_here)
        return
    dsn = place.owners["agent-presence"]
    pool, engine = await open_pool(dsn, name="t", size=3), open_engine(dsn, name="t", size=2)
    await pool.execute("TRUNCATE session, agent, command, outbox, skill, inbox_item, agent_routing, position CASCADE")

    async def write(work: Callable[[InboxTables], Any]) -> None:
        async with pool.acquire() as connection:
            await work(PostgresInboxTables(connection))

    postgres = PostgresSessions(pool, clock=clock, lease_s=LEASE_S)
    yield Backend(postgres, PostgresDirectory(engine, clock), PostgresInboxes(pool), write)
    await engine.dispose()
    await pool.close()


async def signed_in(backend: Backend) -> int:
    await backend.directory.put_agent(ANN, actor="t")
    done = await backend.sessions.sign_in("ann", "available")
    assert done is not None
    return done[0].session_no


def command(number: int, command_id: str = "k1", **changes: Any) -> Command:
    given = {"agent_id": "ann", "pool": "p", "verb": "accept", "contact_id": CONTACT, "attempt": 1, "issued_at_ms": 1}
    return Command(**{**given, "command_id": command_id, "session_no": number, **changes})


class TestSessions:
    async def test_a_new_session_fences_the_one_before(self, backend: Backend) -> None:
        first = await signed_in(backend)
        second = await signed_in(backend)

        assert second == first + 1
        assert await backend.sessions.renew([("ann", first), ("eve", 1)]) == [False, False]
        assert await backend.sessions.renew([("ann", second)]) == [True]
        assert await backend.sessions.sign_out("ann", first) is None
        assert await backend.sessions.pool_of("ann", second) == "p"

    async def test_each_change_is_told_with_a_higher_number(self, backend: Backend) -> None:
        number = await signed_in(backend)

        changed = await backend.sessions.change("ann", session_no=number, presence="break")
        again = await backend.sessions.change("ann", session_no=None, link_score=40)

        assert changed is not None and again is not None
        assert (changed[0].presence, again[0].presence, again[0].link_score) == ("break", "break", 40)
        assert again[0].seq == changed[0].seq + 1 and again[1][0].type == "agent.presence_changed"

    async def test_who_is_disabled_or_unknown_does_not_come_in(self, backend: Backend) -> None:
        await backend.directory.put_agent(replace(ANN, enabled=False), actor="t")

        assert await backend.sessions.sign_in("ann", "available") is None
        assert await backend.sessions.sign_in("eve", "available") is None

    async def test_a_lease_that_runs_out_ends_the_session_once(self, backend: Backend) -> None:
        number = await signed_in(backend)
        assert await backend.sessions.expire() == []

        ended = await eventually(backend.sessions.expire, what="the lease ran out")

        assert [row.type for row in ended] == ["agent.session_ended"]
        assert await backend.sessions.expire() == []
        assert await backend.sessions.renew([("ann", number)]) == [False]

    async def test_a_command_is_kept_once_and_answered_alike(self, backend: Backend) -> None:
        number = await signed_in(backend)

        kept = [(await backend.sessions.keep([command(number)]))[0][:2] for _ in range(2)]
        other = (await backend.sessions.keep([command(number, verb="decline")]))[0][0]
        late = (await backend.sessions.keep([command(number + 1, "k2")]))[0][0]

        assert [one[0] for one in kept] == [Kept.FRESH, Kept.REPEATED]
        assert (other, late) == (Kept.REUSED, Kept.SESSION_OVER)

    async def test_the_first_outcome_of_a_command_counts(self, backend: Backend) -> None:
        number = await signed_in(backend)
        await backend.sessions.keep([command(number)])

        for outcome in ("done", "offer_over"):
            told = {("ann", "k1"): outcome}
            await backend.write(lambda tables, told=told: tables.write(items={}, standings={}, outcomes=told))

        assert (await backend.sessions.keep([command(number)]))[0][:2] == (Kept.REPEATED, "done")


class TestDirectory:
    async def test_a_signed_in_agent_stays_in_their_pool(self, backend: Backend) -> None:
        number = await signed_in(backend)

        assert await backend.directory.put_agent(replace(ANN, pool="q"), actor="t") is None
        assert await backend.directory.put_agent(replace(ANN, units=12), actor="t") == []
        await backend.sessions.sign_out("ann", number)

        assert await backend.directory.put_agent(replace(ANN, pool="q"), actor="t") == []

    async def test_an_agent_is_shown_with_what_the_router_may_do_with_the_present_session(
        self, backend: Backend
    ) -> None:
        async def shown() -> tuple[Any, ...]:
            (one,) = await backend.directory.list_agents(after="", limit=5)
            assert one == await backend.directory.get_agent("ann")
            return tuple(one[name] for name in ("presence", "routing_state", "routing_reason", "link_score"))

        async def route(number: int, state: str, reason: str) -> None:
            standing = Standing(
                agent_id="ann", session_no=number, routing_state=state, reason=reason, shard=0, seq=number
            )
            await backend.write(lambda tables: tables.write(items={}, standings={"ann": standing}, outcomes={}))

        number = await signed_in(backend)
        assert await shown() == ("available", "offline", "", 100)
        await route(number, "ready", "shift_ends")
        await backend.sessions.change("ann", session_no=number, link_score=40)
        assert await shown() == ("available", "ready", "shift_ends", 40)
        since = (await backend.directory.get_agent("ann") or {})["session_since"]
        assert abs((datetime.now(UTC) - since).total_seconds()) < 60

        await asyncio.sleep(0.01)  # times of sign-ins are told apart by milliseconds
        number = await signed_in(backend)
        assert await shown() == ("available", "offline", "", 40), "what was said of the session before counts no more"
        later = (await backend.directory.get_agent("ann") or {})["session_since"]
        assert later > since
        await backend.sessions.sign_out("ann", number)
        assert await shown() == ("offline", "offline", "", None)
        assert (await backend.directory.get_agent("ann") or {})["session_since"] is None

    async def test_skills_and_agents_are_listed_by_name(self, backend: Backend) -> None:
        for skill in ("spanish", "billing", "spanish"):
            await backend.directory.put_skill(skill, actor="t")
        await backend.directory.put_agent(ANN, actor="t")
        await backend.directory.put_agent(replace(ANN, agent_id="bob"), actor="t")

        assert await backend.directory.skills() == ["billing", "spanish"]
        found = await backend.directory.list_agents(after="ann", limit=5)
        assert [(one["agent_id"], one["presence"], one["units"]) for one in found] == [("bob", "offline", 6)]
        assert not await backend.directory.put_limits("eve", {}, actor="t")


class TestInboxes:
    async def test_items_are_there_until_they_are_gone(self, backend: Backend) -> None:
        item = Item(
            contact_id=CONTACT,
            agent_id="ann",
            attempt=1,
            state="offered",
            queue="q",
            channel="voice",
            priority=0,
            units=6,
            routing_age_at_ms=1,
            due_ms=2,
            shard=3,
            seq=4,
        )
        standing = Standing(agent_id="ann", session_no=1, routing_state="ready", reason="available", shard=3, seq=5)
        key = (CONTACT, "ann")

        await backend.write(lambda t: t.write(items={key: item}, standings={"ann": standing}, outcomes={}))
        items, standings, _, _ = await backend.stored.load("routing.v1")
        assert (items, standings) == ([item], [standing])

        await backend.write(lambda t: t.write(items={key: None}, standings={}, outcomes={}))
        assert (await backend.stored.load("routing.v1"))[0] == []
