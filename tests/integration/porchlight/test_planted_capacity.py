"""Bugs that give an agent more than they have, or a client's key two contacts, or hide what was decided: each is found.

The rules are broken in memory; where the database is left whole, it refuses what memory believes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from common.runtime.bus import Incoming
from common.runtime.clock import new_id
from common.testing.eventually import eventually
from intake.adapters import projections
from intake.domain import NewContact, Receipt, Refused
from intake.handlers import Accepting
from router.core import engine as core_engine
from router.core.lifecycle import contact as core_contact
from router.core.model.agent import Agent
from router.core.rules import capacity as core_capacity
from router.core.rules.capacity import Demand
from router.sharding.batch import Decided
from router.sharding.worker import Shard
from tests.integration.conftest import Place
from tests.integration.porchlight.test_planted_bugs import fresh_world, invariants
from tests.support.world import World


def _numbers_without_end(agent: Agent, demand: Demand) -> tuple[tuple[int, ...], str]:
    first = agent.used_units + 1
    return tuple(range(first, first + demand.units)), ""


@pytest.fixture
def nobody_looks_at_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: every agent has room for everything, and nothing in memory objects."""
    monkeypatch.setattr(core_capacity, "_counted", lambda _agent, _demand: 0)
    monkeypatch.setattr(core_contact, "allot", _numbers_without_end)
    monkeypatch.setattr(core_engine, "check_touched", lambda _state: None)


async def _two_contacts_for_one_agent(world: World, kind: type[Shard] = Shard) -> None:
    await world.reign(kind)
    await world.sign_in("ann")
    await eventually(lambda: world.router.fetchval("SELECT count(*) = 1 FROM agent"))
    await world.post()
    await eventually(lambda: world.router.fetchval("SELECT count(*) = 1 FROM assignment"))
    await world.post()


@pytest.mark.usefixtures("nobody_looks_at_capacity")
async def test_the_database_refuses_what_an_agent_has_not(place: Place) -> None:
    async with fresh_world(place) as world:
        await _two_contacts_for_one_agent(world)

        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(world.tasks[-1], 20)

        assert "unit_is_declared" in repr(caught.value.exceptions)
        assert await world.router.fetchval("SELECT count(*) FROM assignment") == 1


@pytest.mark.usefixtures("nobody_looks_at_capacity")
async def test_without_the_foreign_key_an_agent_has_too_much_and_it_is_found(place: Place) -> None:
    async with fresh_world(place) as world:
        await world.router.execute("ALTER TABLE unit_use DROP CONSTRAINT unit_is_declared")
        await _two_contacts_for_one_agent(world)
        await eventually(lambda: world.router.fetchval("SELECT count(*) = 2 FROM assignment"))

        assert "I3" in invariants(await world.verdict(settled=False))


async def test_a_contact_that_interrupts_though_its_queue_may_not_is_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: nothing that an agent has in hand counts, and the row says that it interrupts: the database has to believe it."""
    monkeypatch.setattr(core_capacity, "_counted", lambda _agent, _demand: 0)
    async with fresh_world(place) as world:
        await _two_contacts_for_one_agent(world)
        await eventually(lambda: world.router.fetchval("SELECT count(*) = 2 FROM assignment"))

        verdict = await world.verdict(settled=False)
        assert "I3" in invariants(verdict)
        assert any("12 units in use, of 6" in one.text for one in verdict.violations)
        assert await world.router.fetchval("SELECT count(*) FROM unit_use WHERE over = 'interrupt'") == 6


@pytest.mark.parametrize("capacity", [{"exceed": True}, {"interrupts": ["voice"]}])
async def test_what_the_policy_allows_is_no_finding(place: Place, capacity: dict[str, Any]) -> None:
    async with fresh_world(place) as world:
        await world.define_again(version=2, capacity=capacity)
        await _two_contacts_for_one_agent(world)
        await eventually(lambda: world.router.fetchval("SELECT count(*) = 2 FROM assignment"))

        assert "I3" not in invariants(await world.verdict(settled=False))
        assert await world.router.fetchval("SELECT count(*) FROM unit_use WHERE over <> ''") == 6


class ForgetsKeys(Accepting):
    """Bug: a client's idempotency key is not kept."""

    async def accept(self, contact: NewContact) -> Receipt | Refused:
        return await super().accept(replace(contact, idempotency_key=new_id()))


async def test_a_key_that_makes_two_contacts_is_found(place: Place) -> None:
    async with fresh_world(place) as world:
        good = world.accepting
        world.accepting = ForgetsKeys(
            contacts=good._contacts, catalogue=good._catalogue, relay=good._relay, clock=good._clock
        )
        await world.post("the-key")
        await world.post("the-key")

        assert "I5" in invariants(await world.verdict(settled=False))


class TellsHalf(Shard):
    """Bug: what was decided last is committed and not told."""

    async def _commit(self, decided: Decided, records: Sequence[Incoming]) -> None:
        await super()._commit(decided, records)
        if self._pending and self._pending[-1].type == "offer.made":
            self._pending.pop()


async def test_a_decision_that_is_not_told_is_found(place: Place) -> None:
    async with fresh_world(place) as world:
        await world.reign(TellsHalf)
        await world.sign_in("ann")
        await world.post()
        await eventually(lambda: world.router.fetchval("SELECT count(*) = 1 FROM assignment"))
        await asyncio.sleep(0.5)

        verdict = await world.verdict(settled=False)
        assert any("never published" in one.text for one in verdict.violations if one.invariant == "I7")


async def _a_contact_moves_on(world: World) -> None:
    """It overflows at once to the queue `second`."""
    await world.define_again("second", version=1)
    await world.define_again(version=2, overflow=[{"when": {"waited_over_ms": 1}, "queue": "second"}])
    await world.reign()
    await world.post()
    await eventually(lambda: world.router.fetchval("SELECT count(*) > 1 FROM routing_log"))


async def test_a_contact_that_is_counted_in_another_queue_than_where_it_waits_is_found(place: Place) -> None:
    """Bug: the contact's row keeps the queue that it came to first."""
    async with fresh_world(place) as world:
        source = await world.router.fetchval("SELECT pg_get_functiondef('commit_batch'::regproc)")
        assert source.count("SET queue_id = x.queue_id,") == 1
        await world.router.execute(source.replace("SET queue_id = x.queue_id,", "SET"))
        await _a_contact_moves_on(world)

        verdict = await world.verdict(settled=False)
        assert "I7" in invariants(verdict) and any("'second'" in one.text for one in verdict.violations)


async def test_a_contact_that_intake_shows_in_another_queue_than_where_it_is_is_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: to integrations the contact stays in the queue that its POST named."""
    assert projections.MOVE.count("present_queue = s.queue") == 1
    monkeypatch.setattr(
        projections, "MOVE", projections.MOVE.replace("present_queue = s.queue", "present_queue = c.queue")
    )
    async with fresh_world(place) as world:
        await _a_contact_moves_on(world)
        await world.settle()

        verdict = await world.verdict()
        assert any(one.invariant == "I7" and "intake says queue" in one.text for one in verdict.violations)
