"""Acceptance on real PostgreSQL: one contact a key, and nothing that was promised is forgotten."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import msgspec
import pytest

from common.contracts.contacts import CallbackRequested
from common.contracts.routing import CallbackArranged
from common.runtime.bus import Incoming
from common.runtime.clock import new_id
from common.runtime.failures import Retryable
from common.runtime.outbox import OutboxRow
from common.testing.clock import ManualClock
from intake.adapters.contacts import PostgresContacts
from intake.adapters.projections import PostgresProjections, PostgresRepeats
from intake.consumers import apply
from intake.domain import Receipt, Refusal, Refused
from intake.handlers import Reconciler
from tests.integration.conftest import Place
from tests.support.world import World, new_contact, opened


@pytest.fixture
async def world(place: Place) -> AsyncIterator[World]:
    import asyncpg

    for service, tables in (("intake", "contact, personal, idempotency_key, outbox, queue"), ("router", "queue")):
        connection = await asyncpg.connect(place.owners[service])
        await connection.execute(f"TRUNCATE {tables} CASCADE")
        await connection.close()
    async with opened(dsns=place.owners, bootstrap=place.bootstrap, prefix=place.prefix, relay=False) as world:
        yield world


async def count(world: World, table: str) -> int:
    async with world.pool.acquire() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))


async def test_concurrent_posts_with_one_key_are_one_contact(world: World) -> None:
    key = new_id()

    answers = await asyncio.gather(*(world.accepting.accept(new_contact(key)) for _ in range(20)))

    receipts = [answer for answer in answers if isinstance(answer, Receipt)]
    assert len(receipts) == 20 and len({receipt.contact_id for receipt in receipts}) == 1
    assert sum(not receipt.replayed for receipt in receipts) == 1
    assert await count(world, "contact") == await count(world, "outbox") == 1


async def test_many_posts_share_few_commits(world: World) -> None:
    await world.post()
    before = await _commits(world)

    await asyncio.gather(*(world.accepting.accept(new_contact(new_id())) for _ in range(200)))

    assert await count(world, "contact") == 201
    assert await _commits(world) - before < 60


async def _commits(world: World) -> int:
    async with world.pool.acquire() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return int(await connection.fetchval("SELECT count(DISTINCT xmin::text) FROM contact"))


async def test_personal_data_is_in_its_own_table_only(world: World) -> None:
    import dataclasses

    contact = dataclasses.replace(new_contact(new_id()), customer='{"name": "Canary-Ada-5551234"}')
    await world.accepting.accept(contact)

    async with world.pool.acquire() as connection:
        for table in ("contact", "outbox", "idempotency_key"):
            found = await connection.fetchval(f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%5551234%'")
            assert found == 0, table
        values = await connection.fetch("SELECT value FROM outbox")
        assert not any(b"Canary" in row["value"] for row in values)
        assert await connection.fetchval("SELECT count(*) FROM personal WHERE customer::text LIKE '%5551234%'") == 1


async def test_while_nobody_confirms_the_repetitions_grow_rarer_and_never_end(world: World) -> None:
    for _ in range(20):
        await world.post()
    began_ms = world.clock.now_ms()
    clock = ManualClock(began_ms)
    reconciler = Reconciler(repeats=PostgresRepeats(world.pool), clock=clock, after_ms=3_000)
    at_s: dict[str, list[int]] = {}
    async with world.pool.acquire() as connection:
        await connection.execute("DELETE FROM outbox")
        for _ in range(1_200):
            clock.advance(5_000)
            if await reconciler.reconcile():
                for row in await connection.fetch("DELETE FROM outbox RETURNING key"):
                    at_s.setdefault(row["key"], []).append((clock.now_ms() - began_ms) // 1_000)

    assert len(at_s) == 20
    for repeated in at_s.values():
        pauses = [after - before for before, after in itertools.pairwise(repeated)]
        assert 10 <= len(repeated) <= 20, "6,000 s of nobody"
        assert all(after >= before - 5 for before, after in itertools.pairwise(pauses)) and max(pauses) <= 915
    assert len({repeated[-1] for repeated in at_s.values()}) > 3, "all at the same moment"


async def test_what_nobody_queued_is_submitted_again_and_again_until_somebody_does(world: World) -> None:
    contact_id = await world.post()
    clock = ManualClock(world.clock.now_ms())
    reconciler = Reconciler(repeats=PostgresRepeats(world.pool), clock=clock, after_ms=3_000)
    async with world.pool.acquire() as connection:
        in_time = await reconciler.reconcile()
        clock.advance(4_000)
        still_in_outbox = await reconciler.reconcile()
        await connection.execute("DELETE FROM outbox")  # acknowledged by Kafka, and lost by it
        repeated = await reconciler.reconcile()
        key, correlation_id = await connection.fetchrow("SELECT key, correlation_id FROM outbox")
        await connection.execute("DELETE FROM outbox")
        too_soon = await reconciler.reconcile()
        clock.advance(10_000)
        again = await reconciler.reconcile()
        await connection.execute("DELETE FROM outbox")
        await connection.execute("UPDATE contact SET state = 'queued'")
        clock.advance(4_000)
        confirmed = await reconciler.reconcile()

    assert (in_time, still_in_outbox, repeated, too_soon, again, confirmed) == (0, 0, 1, 0, 1, 0)
    assert (key, correlation_id) == (contact_id, "the-correlation")


async def test_a_cancellation_that_ended_nothing_is_repeated(world: World) -> None:
    contact_id = await world.post()
    contacts = world.accepting._contacts
    clock = ManualClock(world.clock.now_ms())
    first = await contacts.cancel(
        contact_id=contact_id, client_id="world", reason="customer_gave_up", at_ms=clock.now_ms()
    )
    second = await contacts.cancel(
        contact_id=contact_id, client_id="world", reason="customer_gave_up", at_ms=clock.now_ms()
    )
    stranger = await contacts.cancel(
        contact_id=contact_id, client_id="other", reason="customer_gave_up", at_ms=clock.now_ms()
    )
    async with world.pool.acquire() as connection:
        await connection.execute("DELETE FROM outbox")
        await connection.execute("UPDATE contact SET state = 'queued'")
        clock.advance(4_000)
        repeated = await Reconciler(repeats=PostgresRepeats(world.pool), clock=clock, after_ms=3_000).reconcile()
        kinds = [tuple(row) for row in await connection.fetch("SELECT type, correlation_id FROM outbox")]

    assert first is not None and not isinstance(first, Refused)
    assert second is None
    assert isinstance(stranger, Refused) and stranger.reason == "not_found"
    assert (repeated, kinds) == (1, [("contact.cancel_requested", "the-correlation")])


async def test_a_wish_for_a_callback_is_repeated_as_it_was_until_the_router_granted_it(world: World) -> None:
    contact_id = await world.post()
    clock = ManualClock(world.clock.now_ms())
    wished_ms = clock.now_ms()
    contacts = PostgresContacts(world.pool)
    about = {"contact_id": contact_id, "client_id": "world"}
    first = await contacts.call_back(**about, not_before_ms=wished_ms + 8_000, at_ms=wished_ms)
    last = await contacts.call_back(**about, not_before_ms=wished_ms + 9_000, at_ms=wished_ms)
    reconciler = Reconciler(repeats=PostgresRepeats(world.pool), clock=clock, after_ms=3_000)
    async with world.pool.acquire() as connection:
        await connection.execute("UPDATE contact SET state = 'queued'")
        await connection.execute("DELETE FROM outbox")
        clock.advance(3_002)
        repeated = await reconciler.reconcile()
        told = [
            msgspec.json.decode(row["value"], type=CallbackRequested)
            for row in await connection.fetch("DELETE FROM outbox RETURNING value")
        ]
        async with connection.transaction():
            granted = {"pool": "p", "queue": "q", "at_ms": 1, "actor": "customer", "due_ms": None}
            fact = CallbackArranged(contact_id=contact_id, requested_at_ms=told[0].requested_at_ms, **granted)
            record = Incoming(topic="routing.v1", partition=0, offset=0, headers=(), value=b"", fact=fact)
            await apply(PostgresProjections(connection), [record])
        clock.advance(3_002)
        after = await reconciler.reconcile()
        await connection.execute("UPDATE contact SET state = 'assigned', callback_granted_ms = 0")
        with_agent = await reconciler.reconcile()
    refused = await contacts.call_back(**about, not_before_ms=None, at_ms=clock.now_ms())

    assert isinstance(first, OutboxRow) and isinstance(last, OutboxRow)
    assert (repeated, after, with_agent) == (1, 0, 0)
    assert [(one.requested_at_ms, one.not_before_ms) for one in told] == [(wished_ms + 1, wished_ms + 9_000)]
    assert isinstance(refused, Refused) and refused.reason is Refusal.WITH_AGENT


async def test_with_the_database_away_nothing_is_promised(world: World) -> None:
    world.pool.terminate()

    with pytest.raises(Retryable):
        await world.accepting.accept(new_contact(new_id()))
