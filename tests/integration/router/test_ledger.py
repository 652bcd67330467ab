"""The judge: what one call of `commit_batch` lets through and what it refuses."""

import asyncpg
import msgspec
import pytest

from common.contracts.policies import Need, Offers, QueuePolicy, Step
from common.runtime.failures import Retryable
from router.adapters.leases import PostgresLeases
from router.adapters.ledger import take
from router.core import step
from router.core.invariants import check
from router.core.model import events
from router.sharding.ports import Assigned, Batch, Diverged, Fenced
from tests.integration.conftest import Place
from tests.integration.router.conftest import SHARD, Table
from tests.support.builders import arrived, asked, queue, seen


async def test_a_batch_writes_log_contact_assignment_and_units_together(table: Table) -> None:
    await table.commit(seen(), arrived())

    log = await table.router.fetch("SELECT seq, epoch, type FROM routing_log ORDER BY seq")
    assert [(row["seq"], row["epoch"], row["type"]) for row in log] == [
        (1, 1, "agent.routing_changed"),
        (2, 1, "contact.queued"),
        (3, 1, "offer.made"),
    ]
    assert await table.router.fetchval("SELECT count(*) FROM unit_use WHERE contact_id = 'c1'") == 6
    assert await table.router.fetchval("SELECT state FROM contact") == "offered"
    assert table.reign.last_seq == 3


async def test_a_rebuild_gives_the_state_that_was_committed(table: Table) -> None:
    await table.commit(seen("ann"), seen("bob", presence="break"), arrived("c1", channel="chat"), arrived("c2"))
    await table.commit(asked("accept"), now_ms=200)
    await table.commit(asked("complete"), arrived("c3", channel="email"), now_ms=300)

    again = await table.ledger.rebuild(now_ms=400)

    check(again)
    assert again.contacts == table.state.contacts
    assert again.agents == table.state.agents
    assert set(again.ended) == {"c1"}
    told = asked("decline", contact_id="c3", command_id="d")
    assert step(again, told, 500) == step(table.state, told, 500)


async def test_a_rebuild_knows_parallel_offers_pauses_steps_and_what_is_scheduled(table: Table) -> None:
    policy = {
        "offers": Offers(parallel=2),
        "steps": (Step(need=Need(language="es"), expires_ms=9_000, even_unstaffed=True),),
    }
    await table.router.execute(
        "UPDATE queue SET version = 2, policy = $1::jsonb", msgspec.json.encode(QueuePolicy(**policy)).decode()
    )
    await table.commit(
        events.QueueSet(queue=queue(version=2, **policy)),
        *(seen(name, languages=("es",), units=12) for name in ("ann", "bob", "cid")),
        arrived("c1"),
        arrived("c2"),
        arrived("c3", not_before_ms=60_000),
        now_ms=200,
    )
    await table.commit(asked("accept", agent_id="ann"), now_ms=300)
    await table.commit(asked("pause", agent_id="ann"), arrived("c4", need=Need(skill="rare")), now_ms=400)

    again = await table.ledger.rebuild(now_ms=500)

    check(again)
    states = {name: contact.state for name, contact in again.contacts.items()}
    assert states == {"c1": "paused", "c2": "offered", "c3": "scheduled", "c4": "queued"}
    assert again.contacts == table.state.contacts
    assert again.agents == table.state.agents
    later = events.Ticked()
    assert step(again, later, 61_000) == step(table.state, later, 61_000)


async def test_a_batch_of_an_older_epoch_is_refused_whole(table: Table) -> None:
    await table.router.execute("UPDATE shard_lease SET epoch = epoch + 1 WHERE shard = $1", SHARD)

    with pytest.raises(Fenced):
        await table.commit(seen(), arrived())

    assert await table.router.fetchval("SELECT count(*) FROM routing_log") == 0
    assert await table.router.fetchval("SELECT count(*) FROM contact") == 0


async def test_a_batch_at_another_place_in_the_log_is_refused(table: Table) -> None:
    table.reign.last_seq = 7

    with pytest.raises(Fenced):
        await table.commit(seen())


async def test_a_second_live_assignment_is_refused(table: Table) -> None:
    await table.commit(seen(), arrived(), asked("accept"))
    await table.router.execute("INSERT INTO agent_unit SELECT $1, 'bob', n FROM generate_series(1, 6) n", SHARD)
    offer = Assigned(contact_id="c1", attempt=2, agent_id="bob", accepted=True, units=(1,), released_at_ms=None)
    twice = Batch(
        log=[],
        new_contacts=[],
        contacts=[],
        agents=[],
        capacities=[],
        released=[],
        accepted=[],
        units=[],
        assigned=[offer],
    )

    with pytest.raises(Diverged, match="one_live_assignment"):
        await table.ledger.commit(table.reign, twice)


async def test_a_unit_is_used_once(table: Table) -> None:
    await table.commit(seen(), arrived())

    take = "INSERT INTO unit_use (shard, agent_id, unit_no, contact_id, attempt) VALUES ($1, 'ann', $2, 'c1', 1)"
    for shard in (SHARD, SHARD + 1):
        with pytest.raises(asyncpg.UniqueViolationError):
            await table.router.execute(take, shard, 1)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await table.router.execute(take, SHARD, 7)


async def test_a_contact_that_was_taken_in_before_is_known(table: Table) -> None:
    await table.commit(arrived("c1"), arrived("c2"))

    assert await table.ledger.known(["c1", "c9"]) == {"c1"}


async def test_after_a_broken_connection_the_next_reign_sees_what_was_committed(table: Table, place: Place) -> None:
    await table.commit(seen(), arrived())
    another = await asyncpg.connect(place.dsns["router"])
    await another.execute("SELECT pg_terminate_backend(backend_pid, 1000) FROM shard_lease WHERE shard = $1", SHARD)
    await another.close()

    with pytest.raises(Retryable):
        await table.commit(asked("accept"))

    taken = await take(place.dsns["router"], shard=SHARD, owner="next", topics=["contacts.v1"])
    assert taken is not None
    ledger, reign = taken
    again = await ledger.rebuild(now_ms=200)
    assert (reign.epoch, reign.last_seq, again.contacts["c1"].state) == (2, 3, "offered")
    await ledger.close()


async def test_a_shard_that_is_held_is_not_taken_and_a_broken_lock_is(table: Table, place: Place) -> None:
    dsn = place.dsns["router"]
    assert await take(dsn, shard=SHARD, owner="other", topics=[]) is None
    leases = PostgresLeases(dsn=dsn, me="other")
    seen_leases, _, _ = await leases.look()
    assert [lease.locked for lease in seen_leases if lease.shard == SHARD] == [True]

    await leases.break_open([SHARD])
    taken = await take(dsn, shard=SHARD, owner="other", topics=[])

    assert taken is not None and taken[1].epoch == table.reign.epoch + 1
    await taken[0].close()
    await leases.close()
