"""Capacity in the database: what an agent declared makes room, nothing else, and a unit is taken once on all shards."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest
from alembic import command
from alembic.config import Config

from common.contracts.policies import Capacity, Condition, Overflow
from common.runtime.clock import new_id
from porchlight.jobs.databases import create_databases, drop_databases, migrate_all
from porchlight.jobs.migrations import migrations_folder
from router.adapters.ledger import take
from router.core import step
from router.core.model import events
from router.sharding.ports import Assigned, Batch, Diverged
from tests.integration.conftest import Place
from tests.integration.router.conftest import SHARD, Table
from tests.support.builders import arrived, asked, queue, seen

OTHER = (SHARD + 1) % 12
COMMIT = "SELECT commit_batch($1, $2, $3, 0, '{}'::jsonb, $4::jsonb)"


async def over(table: Table) -> dict[str, list[str]]:
    """Why each contact's units are over the agent's capacity, by unit."""
    rows = await table.router.fetch("SELECT contact_id, over FROM unit_use ORDER BY contact_id, unit_no")
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["contact_id"], []).append(row["over"])
    return found


async def declared(table: Table) -> int:
    found: int = await table.router.fetchval("SELECT count(*) FROM agent_unit WHERE shard = $1", SHARD)
    return found


def batch(**changes: Any) -> Batch:
    names = ("log", "new_contacts", "contacts", "agents", "capacities", "released", "accepted", "units", "assigned")
    return Batch(**{**dict.fromkeys(names, ()), **changes})


@pytest.fixture
async def other(table: Table, place: Place) -> AsyncIterator[Table]:
    """The same database's ledger of another shard."""
    taken = await take(place.dsns["router"], shard=OTHER, owner="t", topics=["contacts.v1"])
    assert taken is not None
    other = Table(*taken, table.router)
    step(other.state, events.QueueSet(queue=queue()), 0)
    yield other
    await other.ledger.close()


class TestBeyondCapacity:
    @pytest.mark.parametrize(
        ("why", "refusal"), [("", "unit_is_declared"), ("because", "unit_use_over_check"), ("exceed", None)]
    )
    async def test_units_that_are_not_declared_need_a_reason_on_their_row(
        self, table: Table, why: str, refusal: str | None
    ) -> None:
        await table.commit(seen(), arrived(channel="chat"))
        more = Assigned(
            contact_id="c1",
            attempt=2,
            agent_id="ann",
            accepted=False,
            units=(6, 7),
            released_at_ms=None,
            capacity=6,
            over=why,
        )

        if refusal is not None:
            with pytest.raises(Diverged, match=refusal):
                await table.ledger.commit(table.reign, batch(assigned=[more]))
            return
        await table.ledger.commit(table.reign, batch(assigned=[more]))
        assert await over(table) == {"c1": ["", "", "", "exceed"]} and await declared(table) == 6

    async def test_what_a_queue_may_exceed_or_interrupt_is_written_with_its_reason(self, table: Table) -> None:
        calls = queue("calls", capacity=Capacity(interrupts=("email",)))
        crisis = queue("crisis", capacity=Capacity(exceed=True))
        await table.commit(*(events.QueueSet(queue=one) for one in (calls, crisis)), seen())
        await table.commit(arrived("c1", channel="email"), arrived("c2", queue_id="calls"))
        await table.commit(asked("accept", contact_id="c1", command_id="a"), asked("complete", contact_id="c1"))
        await table.commit(arrived("c3", queue_id="crisis"))

        assert await over(table) == {"c2": [*[""] * 5, "interrupt"], "c3": ["", *["exceed"] * 5]}
        assert await declared(table) == 6

    async def test_a_capacity_that_is_lowered_leaves_what_is_held_and_takes_the_room(self, table: Table) -> None:
        await table.commit(seen(units=12), arrived("c1"), arrived("c2"))

        await table.commit(seen(seq=2, units=6))
        assert await over(table) == {"c1": [""] * 6, "c2": ["cut"] * 6} and await declared(table) == 6
        await table.commit(asked("decline", contact_id="c2"), seen(seq=3, units=12))
        assert await over(table) == {"c1": [""] * 6} and await declared(table) == 12

    @pytest.mark.parametrize("before", [12, 6])
    async def test_a_capacity_that_was_there_only_within_a_batch_is_room_for_what_was_offered_then(
        self, table: Table, before: int
    ) -> None:
        await table.commit(seen(units=before), arrived("c1"))

        await table.commit(seen(seq=2, units=12), arrived("c2"), seen(seq=3, units=6))
        assert await over(table) == {"c1": [""] * 6, "c2": ["cut"] * 6} and await declared(table) == 6

    async def test_a_batch_of_the_release_before_is_taken(self, table: Table) -> None:
        made = table.play(seen(units=6), arrived("c1"))
        assigned = [{name: getattr(made.assigned[0], name) for name in ("contact_id", "attempt", "agent_id")}]
        assigned[0].update(accepted=False, units=list(range(1, 7)), released_at_ms=None)
        old = {
            "log": [],
            "new_contacts": made.new_contacts,
            "contacts": [],
            "agents": [],
            "capacities": [{"agent_id": "ann", "units": 6}],
            "released": [],
            "accepted": [],
            "units": [],
            "assigned": assigned,
        }

        await table.router.execute(COMMIT, SHARD, 1, 0, msgspec.json.encode(old).decode())
        assert await over(table) == {"c1": [""] * 6} and await declared(table) == 6


class TestTwoShards:
    async def test_a_unit_is_taken_once_and_the_shard_that_was_refused_knows_of_it_afterwards(
        self, table: Table, other: Table
    ) -> None:
        await table.commit(seen(), arrived("c1"), asked("accept"))
        with pytest.raises(Diverged, match="unit_use_pkey"):
            await other.commit(seen(), arrived("c2"))

        again = await other.ledger.rebuild(now_ms=200)
        assert not again.agents, "the batch left nothing"
        await other.router.execute("UPDATE shard_lease SET epoch = epoch + 1 WHERE shard = $1", OTHER)
        found = await other.ledger.elsewhere(["ann", "bob"])
        assert found == {"ann": (1, 2, 3, 4, 5, 6)}

    async def test_a_rebuilt_shard_counts_what_the_other_shard_still_has(self, table: Table, other: Table) -> None:
        await other.commit(seen(units=12))
        await table.commit(seen(units=12), arrived("c1"), asked("accept"))

        other.state = await other.ledger.rebuild(now_ms=200)
        assert other.state.agents["ann"].elsewhere == (1, 2, 3, 4, 5, 6)
        step(other.state, events.QueueSet(queue=queue()), 200)
        await other.commit(arrived("c2"), arrived("c3"), now_ms=300)
        assert [one.state for one in other.state.contacts.values()] == ["offered", "queued"]
        await table.commit(asked("complete"), now_ms=400)
        assert await other.ledger.elsewhere(["ann"]) == {}


async def test_a_contact_that_moves_on_is_counted_in_its_new_queue(table: Table) -> None:
    rule = Overflow(when=Condition(waited_over_ms=1_000), queue="next")
    await table.commit(
        events.QueueSet(queue=queue(version=2, overflow=(rule,))), events.QueueSet(queue=queue("next")), arrived("c1")
    )
    await table.commit(events.Ticked(), now_ms=1_200)

    assert await table.router.fetchval("SELECT queue_id FROM contact") == "next"


async def test_a_database_with_live_contacts_is_brought_forward(place: Place) -> None:
    """As the release before left it: room was made for what memory said, also beyond the agent's units."""
    databases = await create_databases(
        place.admin_dsn, password=lambda role: f"tests-only-{role}", suffix=f"_old{new_id()[-8:]}"
    )
    try:
        await asyncio.to_thread(_migrate_to, databases.owners["router"], "0004")
        router = await asyncpg.connect(databases.owners["router"])
        doc = msgspec.json.encode({"units": 6}).decode()
        await router.execute("INSERT INTO agent VALUES (3, 'ann', $1)", doc)
        await router.execute("INSERT INTO agent_unit SELECT 'ann', n FROM generate_series(1, 12) n")
        await router.execute(
            "INSERT INTO contact VALUES ('c1', 3, 'first', 'assigned', 1, 'ann', NULL, $1)",
            msgspec.json.encode({"queue_id": "second"}).decode(),
        )
        await router.execute("INSERT INTO assignment VALUES ('c1', 1, 'ann', 1, NULL, true)")
        await router.execute("INSERT INTO unit_use SELECT 'ann', n, 'c1', 1 FROM generate_series(5, 8) n")
        await router.close()

        await asyncio.to_thread(migrate_all, databases, ["router"])

        router = await asyncpg.connect(databases.owners["router"])
        rows = await router.fetch("SELECT shard, unit_no, over FROM unit_use ORDER BY unit_no")
        assert [tuple(row) for row in rows] == [(3, 5, ""), (3, 6, ""), (3, 7, "cut"), (3, 8, "cut")]
        assert await router.fetchval("SELECT count(*) FROM agent_unit WHERE shard = 3 AND agent_id = 'ann'") == 6
        assert await router.fetchval("SELECT queue_id FROM contact") == "second"
        await router.close()
    finally:
        await drop_databases(place.admin_dsn, databases)


def _migrate_to(dsn: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder("router")))
    config.attributes["dsn"] = dsn
    command.upgrade(config, revision)
