"""Sessions, leases and commands on real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from agent_presence.adapters.sessions import PostgresSessions
from agent_presence.domain import TELL_AGAIN_MS, Command, Kept
from common.contracts.policies import Need
from common.runtime.clock import SystemClock
from common.runtime.database import Pool, borrowed, open_pool
from common.runtime.failures import Retryable
from tests.integration.conftest import Place

CONTACT = "00000000-0000-7000-8000-000000000001"


@pytest.fixture
async def pool(place: Place) -> AsyncIterator[Pool]:
    owner = await asyncpg.connect(place.owners["agent-presence"])
    await owner.execute("TRUNCATE session, agent, command, outbox CASCADE")
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


async def test_nobody_signs_in_who_is_unknown_or_disabled(pool: Pool) -> None:
    await pool.execute("UPDATE agent SET enabled = false WHERE agent_id = 'bob'")

    assert await sessions(pool).sign_in("bob", "available") is None
    assert await sessions(pool).sign_in("zoe", "available") is None


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
