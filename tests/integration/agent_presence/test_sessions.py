"""Sessions, leases and commands on real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from agent_presence.adapters.directory import PostgresDirectory
from agent_presence.adapters.session_ends import PostgresSessionEnds
from agent_presence.adapters.sessions import PostgresSessions
from agent_presence.domain import TELL_AGAIN_MS, Command, Kept, Profile
from common.contracts.policies import Need
from common.runtime.clock import SystemClock
from common.runtime.database import Pool, borrowed, open_engine, open_pool
from common.runtime.failures import Retryable
from common.testing.eventually import eventually
from tests.integration.conftest import Place
from tests.support.machines import wrong_machine

CONTACT = "00000000-0000-7000-8000-000000000001"


@pytest.fixture
async def pool(place: Place) -> AsyncIterator[Pool]:
    owner = await asyncpg.connect(place.owners["agent-presence"])
    await owner.execute("TRUNCATE session, agent, command, outbox, audit CASCADE")
    await owner.close()
    pool = await open_pool(place.dsns["agent-presence"], name="t", size=3)
    for agent in ("ann", "bob"):
        await pool.execute("INSERT INTO agent VALUES ($1, 'p', '{\"billing\": 70}', 6, true)", agent)
    yield pool
    await pool.close()


def sessions(pool: Pool, lease_s: float = 10.0) -> PostgresSessions:
    return PostgresSessions(pool, clock=SystemClock(), lease_s=lease_s)


def command(command_id: str = "k1", *, session_no: int = 1, verb: str = "accept", attempt: int = 1) -> Command:
    return Command(
        agent_id="ann",
        command_id=command_id,
        session_no=session_no,
        pool="p",
        verb=verb,  # type: ignore[arg-type]
        contact_id=CONTACT,
        attempt=attempt,
        issued_at_ms=1,
    )


async def facts(pool: Pool) -> list[str]:
    return [row["type"] for row in await pool.fetch("SELECT type FROM outbox ORDER BY event_id")]


async def test_signing_in_again_fences_the_session_before(pool: Pool) -> None:
    table = sessions(pool)
    first = await table.sign_in("ann", "available")
    second = await table.sign_in("ann", "away")
    assert first is not None and second is not None

    assert (first[0].session_no, second[0].session_no) == (1, 2)
    assert second[0].seq > first[0].seq
    assert await table.change("ann", session_no=1, presence="break") is None
    assert await table.sign_out("ann", 1) is None
    assert await table.renew([("ann", 1)]) == [False]
    assert await table.renew([("ann", 2)]) == [True]
    assert await facts(pool) == ["agent.session_started"] * 2


async def test_renewals_of_the_same_agents_in_any_order_never_wait_in_a_circle(pool: Pool) -> None:
    names = [f"agent-{number}" for number in range(300)]
    await pool.executemany("INSERT INTO agent VALUES ($1, 'p', '{}', 6, true)", [(name,) for name in names])
    table = sessions(pool)
    for name in names:
        assert await table.sign_in(name, "available")
    given = [(name, 1) for name in names]

    async def renew(order: list[tuple[str, int]]) -> None:
        for _ in range(40):
            assert all(await table.renew(order))  # a deadlock is `Retryable`

    await asyncio.gather(renew(given), renew(given[::-1]), renew(given[1::2] + given[::2]))


async def test_nobody_signs_in_who_is_unknown_or_disabled(pool: Pool) -> None:
    await pool.execute("UPDATE agent SET enabled = false WHERE agent_id = 'bob'")

    assert await sessions(pool).sign_in("bob", "available") is None
    assert await sessions(pool).sign_in("zoe", "available") is None


MOVE = "UPDATE session SET lease_expires_at = lease_expires_at + $1 * interval '1 second' WHERE ended_at IS NULL"


@pytest.mark.parametrize("slept_s", [600, -600])
async def test_leases_do_not_end_because_a_clock_stepped(pool: Pool, slept_s: int) -> None:
    table = sessions(pool, lease_s=10.0)
    assert await table.sign_in("ann", "available") is not None
    with wrong_machine() as machine:
        assert await table.expire() == []
        machine.slept_s = slept_s
        await pool.execute(MOVE, -slept_s)  # as the leases look when the database's clock went on, or back, by so much

        assert await table.expire() == [], "the agent had no chance to renew"
        left_s = await pool.fetchval("SELECT extract(epoch FROM lease_expires_at - now())::float8 FROM session")
        assert 0 < left_s <= 10, "one more lease, and no longer one"
        assert await table.expire() == []
        await pool.execute(MOVE, -11)
        assert [row.type for row in await table.expire()] == ["agent.session_ended"], "from then on leases count again"


async def test_a_lease_that_ran_out_ends_the_session_once_and_tells_the_router(pool: Pool) -> None:
    table = sessions(pool)
    await table.sign_in("ann", "available")
    await table.sign_in("bob", "available")
    await pool.execute("UPDATE session SET lease_expires_at = now() - interval '1 second' WHERE agent_id = 'ann'")

    ended = await table.expire()
    again = await table.expire()

    assert [(row.key, row.type) for row in ended] == [("ann", "agent.session_ended")]
    assert b'"reason":"lease_expired"' in ended[0].value and b'"presence":"offline"' in ended[0].value
    assert again == []
    assert await table.renew([("ann", 1), ("bob", 1)]) == [False, True]


async def test_only_one_replica_sweeps_at_a_time(pool: Pool) -> None:
    table = sessions(pool)
    await table.sign_in("ann", "available")
    await pool.execute("UPDATE session SET lease_expires_at = now() - interval '1 second'")
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(7318003)")

        assert await table.expire() == []

    assert len(await table.expire()) == 1


async def test_a_command_is_kept_once_and_told_once(pool: Pool) -> None:
    table = sessions(pool)
    await table.sign_in("ann", "available")

    first = await table.keep([command()])
    second = await table.keep([command()])
    await pool.execute("UPDATE command SET outcome = 'done'")
    third = await table.keep([command()])

    assert [(what, outcome) for what, outcome, _ in (*first, *second, *third)] == [
        (Kept.FRESH, None),
        (Kept.REPEATED, None),
        (Kept.REPEATED, "done"),
    ]
    assert (await facts(pool)).count("offer.accept_requested") == 1


async def test_a_command_id_belongs_to_one_command(pool: Pool) -> None:
    table = sessions(pool)
    await table.sign_in("ann", "available")
    await table.keep([command()])

    kept = [await table.keep([command(verb="decline")]), await table.keep([command(attempt=2)])]

    assert [one[0][0] for one in kept] == [Kept.REUSED, Kept.REUSED]


async def test_a_transfer_elsewhere_is_another_command(pool: Pool) -> None:
    table = sessions(pool)
    await table.sign_in("ann", "available")
    there = replace(command(verb="transfer"), to_queue="q", need=Need(skill="billing", min_level=5))
    await table.keep([there])

    again = await table.keep([there])
    others = [
        await table.keep([one])
        for one in (replace(there, to_queue="r"), replace(there, to_agent="bob"), replace(there, need=None))
    ]
    await pool.execute("UPDATE command SET target = NULL")  # as a release kept it that did not write it down
    before = await table.keep([replace(there, to_queue="r")])

    assert [one[0][0] for one in (again, *others, before)] == [
        Kept.REPEATED,
        Kept.REUSED,
        Kept.REUSED,
        Kept.REUSED,
        Kept.REPEATED,
    ]


async def test_a_repeated_command_that_was_never_answered_is_told_again(pool: Pool) -> None:
    table = sessions(pool)
    await table.sign_in("ann", "available")
    await table.keep([command()])

    await table.keep([replace(command(), issued_at_ms=TELL_AGAIN_MS)])
    soon = (await facts(pool)).count("offer.accept_requested")
    await table.keep([replace(command(), issued_at_ms=1 + TELL_AGAIN_MS)])
    late = (await facts(pool)).count("offer.accept_requested")
    await pool.execute("UPDATE command SET outcome = 'done'")
    await table.keep([replace(command(), issued_at_ms=2 + TELL_AGAIN_MS)])

    assert (soon, late) == (1, 2)
    assert (await facts(pool)).count("offer.accept_requested") == 2


async def test_a_command_of_a_session_that_is_over_is_not_kept(pool: Pool) -> None:
    table = sessions(pool)
    await table.sign_in("ann", "available")
    await table.sign_in("ann", "available")

    kept = await table.keep([command(session_no=1), command("k2", session_no=2)])

    assert [what for what, _, _ in kept] == [Kept.SESSION_OVER, Kept.FRESH]
    assert await pool.fetchval("SELECT count(*) FROM command") == 1


def profile(agent_id: str = "ann", *, enabled: bool = True, pool: str = "p") -> Profile:
    return Profile(agent_id=agent_id, pool=pool, skills={"billing": 70}, units=6, enabled=enabled, traits={})


@pytest.fixture
async def directory(place: Place) -> AsyncIterator[PostgresDirectory]:
    engine = open_engine(place.dsns["agent-presence"], name="t-admin", size=2)
    yield PostgresDirectory(engine, SystemClock())
    await engine.dispose()


async def test_disabling_an_agent_ends_its_session_in_the_same_transaction(
    pool: Pool, directory: PostgresDirectory
) -> None:
    table = sessions(pool)
    await table.sign_in("ann", "available")
    await table.sign_in("bob", "available")

    told = await directory.put_agent(profile(enabled=False, pool="elsewhere"), actor="root")

    assert told is not None and [(row.key, row.type) for row in told] == [("ann", "agent.session_ended")]
    assert b'"reason":"disabled"' in told[0].value and b'"pool":"p"' in told[0].value
    assert (await facts(pool)).count("agent.session_ended") == 1
    assert await table.renew([("ann", 1), ("bob", 1)]) == [False, True]
    assert await table.sign_in("ann", "available") is None
    assert [what for what, _, _ in await table.keep([command()])] == [Kept.SESSION_OVER]


async def test_an_agent_who_is_disabled_can_do_nothing_even_if_its_session_was_left(pool: Pool) -> None:
    table = sessions(pool)
    await table.sign_in("ann", "available")
    await pool.execute("UPDATE agent SET enabled = false WHERE agent_id = 'ann'")

    assert await table.renew([("ann", 1)]) == [False]
    assert await table.change("ann", session_no=1, presence="break") is None
    assert await table.pool_of("ann", 1) is None
    assert [what for what, _, _ in await table.keep([command()])] == [Kept.SESSION_OVER]


async def test_nobody_signs_in_while_being_disabled(pool: Pool, place: Place) -> None:
    table = sessions(pool)
    owner, admin = await asyncpg.connect(place.owners["agent-presence"]), await asyncpg.connect(place.admin_dsn)
    async with owner.transaction():
        await owner.execute("UPDATE agent SET enabled = false WHERE agent_id = 'ann'")
        signing_in = asyncio.create_task(table.sign_in("ann", "available"))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 't'"
        await eventually(lambda: admin.fetchval(waiting), what="the sign-in waits for the row")
    await owner.close()
    await admin.close()

    assert await signing_in is None
    assert await facts(pool) == []


async def test_a_supervisor_signs_an_agent_out_once(pool: Pool, place: Place, directory: PostgresDirectory) -> None:
    table = sessions(pool)
    await table.sign_in("ann", "available")

    first = await directory.end_session("ann", actor="sue")
    again = await directory.end_session("ann", actor="sue")

    assert len(first) == 1 and b'"reason":"signed_out_by_supervisor"' in first[0].value
    assert again == []
    assert await table.renew([("ann", 1)]) == [False]
    assert await table.sign_in("ann", "available") is not None, "to keep an agent out it must be disabled"
    owner = await asyncpg.connect(place.owners["agent-presence"])
    noted = await owner.fetch("SELECT actor, subject FROM audit WHERE action = 'session.end'")
    await owner.close()
    assert [tuple(row) for row in noted] == [("sue", "ann")]


async def test_every_end_of_a_session_is_heard_by_who_listens(
    pool: Pool, place: Place, directory: PostgresDirectory
) -> None:
    heard: list[tuple[str, int]] = []
    listening = asyncio.Event()
    ends = PostgresSessionEnds(place.dsns["agent-presence"], name="t")
    task = asyncio.create_task(ends.listen(listening=listening.set, over=lambda *end: heard.append(end)))
    await asyncio.wait_for(listening.wait(), 10)
    table = sessions(pool)

    async def has_come(end: tuple[str, int]) -> None:
        async def look() -> bool:
            return end in heard

        await eventually(look, what=f"{end} is heard")

    await table.sign_in("ann", "available")
    await table.sign_in("ann", "available")
    await has_come(("ann", 1))
    await table.sign_out("ann", 2)
    await has_come(("ann", 2))
    await table.sign_in("ann", "available")
    await table.renew([("ann", 3)])
    await table.change("ann", session_no=3, presence="break")
    await pool.execute("UPDATE session SET lease_expires_at = now() - interval '1 second' WHERE agent_id = 'ann'")
    await table.expire()
    await has_come(("ann", 3))
    await table.sign_in("ann", "available")
    await directory.put_agent(profile(enabled=False), actor="root")
    await has_come(("ann", 4))

    assert sorted(set(heard)) == [("ann", 1), ("ann", 2), ("ann", 3), ("ann", 4)], "renewals and changes are no ends"
    task.cancel()


async def test_whoever_listens_is_told_that_the_connection_was_lost(pool: Pool, place: Place) -> None:
    listening = asyncio.Event()
    ends = PostgresSessionEnds(place.dsns["agent-presence"], name="t-lost")
    task = asyncio.create_task(ends.listen(listening=listening.set, over=lambda *_: None))
    await asyncio.wait_for(listening.wait(), 10)
    admin = await asyncpg.connect(place.admin_dsn)

    ended = await admin.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 't-lost-ends'"
    )

    assert ended == 1
    with pytest.raises(Retryable):
        await asyncio.wait_for(task, 10)
    await admin.close()


async def test_rows_that_a_dead_instance_still_holds_are_waited_for_and_tried_again(pool: Pool) -> None:
    table = sessions(pool)
    await table.sign_in("ann", "available")
    await pool.execute("UPDATE session SET lease_expires_at = now() - interval '1 second'")

    async with pool.acquire() as dead, dead.transaction():
        await dead.execute("UPDATE session SET link_score = 1")  # and never a word more
        with pytest.raises(Retryable, match="LockNotAvailable"):
            await table.expire()

    assert [row.type for row in await table.expire()] == ["agent.session_ended"]


async def test_a_transaction_that_stood_still_too_long_is_begun_again(pool: Pool) -> None:
    with pytest.raises(Retryable):
        async with borrowed(pool) as connection, connection.transaction():
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
            await connection.execute("SELECT 1")
            await asyncio.sleep(0.3)
            await connection.execute("SELECT 1")
