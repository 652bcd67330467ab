"""The history checker finds nothing in a sound world, and each of the planted bugs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import msgspec
import pytest

from common.contracts import agents
from common.contracts.topics import CONTACTS
from common.runtime.bus import Incoming
from common.runtime.clock import new_id
from common.runtime.kafka import create_topics
from common.testing.eventually import eventually
from intake.domain import Receipt, Refused, Wishes
from intake.handlers import Accepting, Given
from porchlight.jobs.databases import create_databases, drop_databases, migrate_all
from router.core import step
from router.core.lifecycle import commands as core_commands
from router.core.model import decisions
from router.sharding import worker as shard_worker
from router.sharding.batch import Decided, make_batch
from router.sharding.worker import Shard
from tests.integration.conftest import Place
from tests.support.world import SHARD, World, new_contact, opened


@asynccontextmanager
async def fresh_world(place: Place, **options: Any) -> AsyncIterator[World]:
    """Databases and topics of its own: a planted bug must leave nothing behind."""
    suffix = "_" + new_id()[-12:]
    databases = await create_databases(place.admin_dsn, password=lambda role: f"tests-only-{role}", suffix=suffix)
    await asyncio.to_thread(migrate_all, databases, ["intake", "router"])
    await create_topics(place.bootstrap, prefix=f"t{suffix}.")
    try:
        async with opened(dsns=databases.owners, bootstrap=place.bootstrap, prefix=f"t{suffix}.", **options) as world:
            yield world
    finally:
        await drop_databases(place.admin_dsn, databases)


def invariants(world_verdict: Any) -> set[str]:
    return {one.invariant for one in world_verdict.violations}


async def test_a_sound_world_passes(place: Place) -> None:
    async with fresh_world(place) as world:
        await world.reign()
        world.tasks.append(asyncio.create_task(world.answer_offers()))
        for agent in ("ann", "bob"):
            await world.sign_in(agent)
        await asyncio.gather(*(world.post() for _ in range(20)))
        await world.ended(20)
        await world.settle()

        verdict = await world.verdict()

        assert verdict.violations == []
        assert verdict.looked_at["contacts"] == 20 and verdict.looked_at["published records"] > 80


class OffersTwice(Shard):
    """Bug: the decision is committed for a second agent too, and both of them have it."""

    async def _commit(self, decided: Decided, records: Sequence[Incoming]) -> None:
        for one, at_ms in list(decided):
            if isinstance(one, decisions.Offered):
                twin = msgspec.structs.replace(one, agent_id="zed", attempt=one.attempt + 1)
                decided.append((twin, at_ms))
                for offer in (one, twin):
                    about = {name: getattr(offer, name) for name in decisions.AttemptDecision.__struct_fields__}
                    decided.append((decisions.Accepted(**about, command_id=""), at_ms))
        await super()._commit(decided, records)


async def _offer_twice(world: World) -> None:
    await world.router.execute("INSERT INTO agent_unit SELECT $1, 'zed', n FROM generate_series(1, 6) n", SHARD)
    await world.reign(OffersTwice)
    await world.sign_in("ann")
    await eventually(lambda: world.router.fetchval("SELECT count(*) = 1 FROM agent"))
    await world.post()


async def test_without_the_unique_index_two_agents_have_one_contact_and_it_is_found(place: Place) -> None:
    async with fresh_world(place) as world:
        await world.router.execute("DROP INDEX one_live_assignment")
        await _offer_twice(world)
        await eventually(lambda: world.router.fetchval("SELECT count(*) = 2 FROM assignment"))

        assert "I2" in invariants(await world.verdict(settled=False))


async def test_with_the_unique_index_the_database_refuses_the_second_agent(place: Place) -> None:
    async with fresh_world(place) as world:
        await _offer_twice(world)

        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(world.tasks[-1], 10)

        assert "one_live_assignment" in repr(caught.value.exceptions)
        assert await world.router.fetchval("SELECT count(*) FROM assignment") == 0


NO_EPOCH_TEST = "UPDATE shard_lease SET last_seq = last_seq + jsonb_array_length(b->'log') WHERE shard = p_shard;"


async def _without_epoch_test(router: "asyncpg.Connection[asyncpg.Record]") -> None:
    source = await router.fetchval("SELECT pg_get_functiondef('commit_batch'::regproc)")
    start, end = source.index("  UPDATE shard_lease"), source.index("  INSERT INTO routing_log")
    await router.execute(source[:start] + "  " + NO_EPOCH_TEST + "\n" + source[end:])


async def _zombie_writes(world: World) -> Exception | None:
    """A reign that was cut off wakes up and commits, at the place in the log that it reads from the table."""
    old_ledger, old_reign = await world.take_shard()
    await world.router.execute("SELECT pg_advisory_unlock_all()")
    await old_ledger._connection.execute("SELECT pg_advisory_unlock_all()")  # as if its session had been ended
    await world.reign()
    await world.sign_in("ann")
    await world.post()
    await eventually(lambda: world.router.fetchval("SELECT last_seq >= 3 FROM shard_lease WHERE shard = $1", SHARD))
    old_reign.last_seq = await world.router.fetchval("SELECT last_seq FROM shard_lease WHERE shard = $1", SHARD)
    state = await old_ledger.rebuild(now_ms=world.clock.now_ms())
    told = shard_worker.events.AgentSeen(
        agent_id="zed",
        pool="world",
        session_no=1,
        seq=1,
        presence="available",
        skills=(),
        units=6,
        link_lost=False,
    )
    decided = [(one, world.clock.now_ms()) for one in step(state, told, world.clock.now_ms())]
    try:
        await old_ledger.commit(old_reign, make_batch(state, old_reign, decided, {}))
    except Exception as why:
        return why
    finally:
        await old_ledger.close()
    return None


async def test_without_the_epoch_test_a_zombie_writes_and_it_is_found(place: Place) -> None:
    async with fresh_world(place) as world:
        await _without_epoch_test(world.router)

        assert await _zombie_writes(world) is None
        assert "I4" in invariants(await world.verdict(settled=False))


async def test_with_the_epoch_test_a_zombie_writes_nothing(place: Place) -> None:
    async with fresh_world(place) as world:
        refused = await _zombie_writes(world)

        assert type(refused).__name__ == "Fenced"
        assert "I4" not in invariants(await world.verdict(settled=False))


class PublishesFirst(Shard):
    """Bug: facts go out before the commit."""

    async def _commit(self, decided: Decided, records: Sequence[Incoming]) -> None:
        fresh = dict(self._state.fresh)
        touched = dict(self._state.touched_contacts), dict(self._state.touched_agents)
        early = make_batch(self._state, self.reign, decided, dict(self._units_known))
        self._state.touched_contacts.update(touched[0])
        self._state.touched_agents.update(touched[1])
        self._state.fresh.update(fresh)
        if early.log:
            await self._publisher.publish([self._record(line) for line in early.log])
            await asyncio.sleep(0.02)
        await super()._commit(decided, records)


async def test_publishing_before_the_commit_is_found(place: Place) -> None:
    async with fresh_world(place) as world:
        await world.reign(PublishesFirst)
        await world.sign_in("ann")
        await world.post()
        await eventually(lambda: world.router.fetchval("SELECT count(*) = 1 FROM assignment"))

        assert "I6" in invariants(await world.verdict(settled=False))


class PromisesFirst(Accepting):
    """Bug: 202 before the commit, which then fails."""

    async def _commit_all(self, given: Sequence[Given]) -> list[Receipt | Refused]:
        return [receipt for _, receipt, _, _ in given]


async def test_a_promise_before_the_commit_is_found(place: Place) -> None:
    async with fresh_world(place) as world:
        good = world.accepting
        world.accepting = PromisesFirst(
            contacts=good._contacts, catalogue=good._catalogue, relay=good._relay, clock=good._clock
        )
        await world.post()

        assert "I1" in invariants(await world.verdict(settled=False))


async def test_an_accept_whose_attempt_is_ignored_is_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def any_attempt(contact: Any, asked: Any) -> Any:
        return next((one for one in contact.offers if one.agent_id == asked.agent_id), contact.holding)

    monkeypatch.setattr(core_commands, "_offer_of", any_attempt)  # the planted bug itself
    async with fresh_world(place) as world:
        await world.reign()
        await world.sign_in("ann")
        contact_id = await world.post()
        await eventually(lambda: world.router.fetchval("SELECT attempt = 1 FROM contact"))
        await world.command(agents.DeclineRequested, agent="ann", contact_id=contact_id, attempt=1)
        await eventually(lambda: world.router.fetchval("SELECT state = 'queued' FROM contact"))
        await world.sign_in("bob")
        await eventually(lambda: world.router.fetchval("SELECT attempt = 2 FROM contact"))
        command_id = await world.command(agents.AcceptRequested, agent="bob", contact_id=contact_id, attempt=1)
        await eventually(lambda: world.router.fetchval("SELECT state = 'assigned' FROM contact"))
        about = {"agent_id": "bob", "verb": "accept", "contact_id": contact_id, "attempt": 1, "command_id": command_id}
        world.note("command_answered", status=200, **about)

        assert "I8" in invariants(await world.verdict(settled=False))


async def _naive_relay(world: World, stop: asyncio.Event) -> None:
    """Bug: an outbox reader that remembers the last place instead of what is unpublished."""
    last = 0
    async with world.pool.acquire() as connection:
        while not stop.is_set():
            rows = await connection.fetch("SELECT * FROM outbox WHERE place > $1 ORDER BY place", last)
            for row in rows:
                columns = {name: row[name] for name in dict(row) if name not in ("created_at", "place")}
                await world.publisher.publish([world.outbox._record(_as_row(columns))])
                last = row["place"]
            await asyncio.sleep(0.002)


def _as_row(columns: dict[str, Any]) -> Any:
    from common.runtime.outbox import OutboxRow

    return OutboxRow(**columns)


async def test_a_naive_outbox_cursor_loses_contacts_and_it_is_found(place: Place) -> None:
    async with fresh_world(place, relay=False) as world:
        async with world.pool.acquire() as connection:
            await connection.execute("ALTER TABLE outbox ADD place bigserial")
        await world.reign()
        await world.sign_in("ann")
        stop = asyncio.Event()
        relay = asyncio.create_task(_naive_relay(world, stop))
        late = await _slow_insert(world)
        for _ in range(3):
            await world.post()
        await asyncio.sleep(0.3)
        await late.commit()
        await world.router.fetchval("SELECT 1")
        async with world.pool.acquire() as connection:
            assert await connection.fetchval("SELECT count(*) FROM contact") == 4
        await eventually(lambda: world.router.fetchval("SELECT count(*) = 3 FROM contact"))
        await asyncio.sleep(0.5)
        stop.set()
        with suppress(asyncio.CancelledError):
            await relay

        verdict = await world.verdict()

        assert "I1" in invariants(verdict)
        assert any("never queued" in one.text for one in verdict.violations)


class _Late:
    def __init__(self, connection: Any, transaction: Any) -> None:
        self._connection, self._transaction = connection, transaction

    async def commit(self) -> None:
        await self._transaction.commit()
        await self._connection.close()


async def _slow_insert(world: World) -> _Late:
    """A transaction that took its place in the outbox and commits later than those after it."""
    connection = await asyncpg.connect(world.dsns["intake"])
    transaction = connection.transaction()
    await transaction.start()
    contact = new_contact(new_id())
    contact_id = new_id()
    now_ms = world.clock.now_ms()
    await connection.execute(
        "INSERT INTO idempotency_key VALUES ('world', $1, 'h', $2, $3)", contact.idempotency_key, contact_id, now_ms
    )
    await connection.execute(
        "INSERT INTO contact (contact_id, client_id, pool, queue, channel, priority, requirements, accepted_at_ms,"
        " state_at_ms) VALUES ($1, 'world', 'world', 'world', 'voice', 0, '[]', $2, $2)",
        contact_id,
        now_ms,
    )
    from intake.translate import submission

    receipt = Receipt(
        contact_id=contact_id, queue="world", channel="voice", priority=0, accepted_at_ms=now_ms, replayed=False
    )
    row = submission(receipt, pool="world", requirements=(), correlation_id="", wishes=Wishes())
    assert row.topic == CONTACTS.name
    from common.runtime.outbox import insert

    await insert(connection, [row])
    return _Late(connection, transaction)
