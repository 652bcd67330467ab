"""What was done elsewhere a moment ago is waited for: a queue, a skill, the agent who accepted."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from common.runtime.clock import new_id
from intake.adapters.contacts import PostgresContacts
from intake.adapters.projections import PostgresProjections
from intake.domain import KnownSession, Receipt, Refusal, Refused
from intake.handlers import Details
from tests.integration.conftest import Place
from tests.support.world import World, new_contact, opened


@pytest.fixture
async def world(place: Place) -> AsyncIterator[World]:
    import asyncpg

    for service, tables in (
        ("intake", "contact, personal, idempotency_key, outbox, queue, skill, agent_session"),
        ("router", "queue"),
    ):
        connection = await asyncpg.connect(place.owners[service])
        await connection.execute(f"TRUNCATE {tables} CASCADE")
        await connection.close()
    async with opened(dsns=place.owners, bootstrap=place.bootstrap, prefix=place.prefix, relay=False) as world:
        yield world


async def a_moment_later(world: World, statement: str) -> None:
    await asyncio.sleep(0.2)
    await world.pool.execute(statement)


async def test_a_contact_for_a_queue_that_was_defined_a_moment_ago_is_accepted(world: World) -> None:
    contact = replace(new_contact(new_id()), queue="fresh", requirements=(("fluent", 1),))

    done, *_ = await asyncio.gather(
        world.accepting.accept(contact),
        a_moment_later(world, "INSERT INTO queue VALUES ('fresh', 'fresh', 1, 0)"),
        a_moment_later(world, "INSERT INTO skill VALUES ('fluent')"),
    )

    assert isinstance(done, Receipt), done


async def test_a_queue_that_nobody_defined_is_refused_after_the_wait(world: World) -> None:
    done = await world.accepting.accept(replace(new_contact(new_id()), queue="nowhere"))

    assert isinstance(done, Refused) and done.reason is Refusal.UNKNOWN_QUEUE


async def test_the_holder_gets_the_customers_details_although_the_fact_is_still_on_its_way(world: World) -> None:
    contact = replace(new_contact(new_id()), customer='{"name": "Ada"}')
    done = await world.accepting.accept(contact)
    assert isinstance(done, Receipt)
    details = Details(PostgresContacts(world.pool))
    moved = f"UPDATE contact SET state = 'assigned', agent_id = 'ann' WHERE contact_id = '{done.contact_id}'"

    found, strangers, _ = await asyncio.gather(
        details.customer(contact_id=done.contact_id, agent_id="ann", session_no=1),
        details.customer(contact_id=done.contact_id, agent_id="bob", session_no=1),
        a_moment_later(world, moved),
    )

    assert not isinstance(found, Refused) and found["name"] == "Ada"
    assert isinstance(strangers, Refused) and strangers.reason is Refusal.NOT_FOUND


async def test_details_are_for_the_present_session_and_reads_are_in_the_audit(world: World) -> None:
    done = await world.accepting.accept(replace(new_contact(new_id()), customer='{"name": "Canary"}'))
    assert isinstance(done, Receipt)
    await world.pool.execute(
        "UPDATE contact SET state = 'assigned', agent_id = 'eve' WHERE contact_id = $1", done.contact_id
    )
    contacts = PostgresContacts(world.pool)
    details = Details(contacts)

    async def read(session_no: int) -> str:
        found = await details.customer(contact_id=done.contact_id, agent_id="eve", session_no=session_no)
        return found.reason.value if isinstance(found, Refused) else found["name"]

    async def know(session_no: int, *, is_over: bool) -> None:
        async with world.pool.acquire() as connection:
            session = KnownSession(session_no=session_no, is_over=is_over)
            await PostgresProjections(connection).know_sessions({"eve": session})

    await know(2, is_over=False)
    await know(1, is_over=True)
    in_time = [await read(2), await read(2), await read(1)]
    await know(2, is_over=True)

    assert (in_time, await read(2)) == (["Canary", "Canary", "session_over"], "session_over")
    noted = await world.pool.fetch("SELECT actor, action, subject, detail FROM audit WHERE actor = 'eve'")
    assert [tuple(row) for row in noted] == [("eve", "customer.read", done.contact_id, "session 2")]
