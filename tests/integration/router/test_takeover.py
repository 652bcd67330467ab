"""A takeover of a shard in which many contacts wait who all need something else: quick, and nobody stands still meanwhile."""

import asyncio
import os
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec

from common.contracts.policies import Need
from common.contracts.topics import shard_of
from common.runtime.clock import monotonic_s
from router.adapters.ledger import take
from router.core import State, step
from router.core.model import events
from tests.integration.conftest import Place
from tests.support.builders import arrived, queue, seen

SHARD = shard_of("p")
WAITING = int(os.environ.get("PORCHLIGHT_TAKEOVER_WAITING", "3000"))
"""`make bench-takeover` asks for 20,000."""


async def fill(router: "asyncpg.Connection[asyncpg.Record]") -> None:
    """The rows of so many contacts, and of agents who are away."""
    row = ("billing", "p", SHARD, 1, "[]", 0, 20_000, 0, 15_000, 20_000)
    await router.execute("TRUNCATE unit_use, assignment, contact, agent, agent_unit, routing_log, queue, parked")
    await router.execute("INSERT INTO queue VALUES ($1,$2,$3,$4,$5::jsonb,$6,$7,$8,$9,$10)", *row)
    state = State()
    step(state, events.QueueSet(queue=queue()), 1)
    for number in range(50):
        step(state, seen(f"a{number}", skills=((f"s{number}", 50),), presence="break"), 1)
    step(state, arrived("one"), 1)
    (one,) = state.contacts.values()
    docs: list[tuple[Any, ...]] = []
    for number in range(WAITING):
        need = Need(region=f"r{number}", any=(Need(skill=f"s{number % 50}"), Need(agent=f"a{number % 50}")))
        doc = msgspec.structs.replace(one, contact_id=f"c{number:06d}", need=need)
        docs.append((doc.contact_id, SHARD, "billing", "queued", 0, "", None, msgspec.json.encode(doc).decode()))
    columns = ["contact_id", "shard", "queue_id", "state", "attempt", "agent_id", "ended_at_ms", "doc"]
    await router.copy_records_to_table("contact", records=docs, columns=columns)
    crew = [(SHARD, name, msgspec.json.encode(agent).decode()) for name, agent in state.agents.items()]
    await router.copy_records_to_table("agent", records=crew, columns=["shard", "agent_id", "doc"])


async def longest_stop_s(stops: list[float]) -> None:
    """Notes how long the loop did not come round."""
    while True:
        before_s = monotonic_s()
        await asyncio.sleep(0.005)
        stops.append(monotonic_s() - before_s)


async def test_a_takeover_with_as_many_needs_as_contacts_stops_nobody(place: Place) -> None:
    router = await asyncpg.connect(place.owners["router"])
    await fill(router)
    taken = await take(place.dsns["router"], shard=SHARD, owner="t", topics=["contacts.v1"])
    assert taken is not None
    ledger, _ = taken
    stops: list[float] = []
    watch = asyncio.create_task(longest_stop_s(stops))
    started_s = monotonic_s()

    state = await ledger.rebuild(now_ms=10)
    step(state, events.Ticked(), 11)
    took_s = monotonic_s() - started_s

    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch
    await ledger.close()
    await router.close()
    print(
        f"{WAITING} waiting: {took_s:.2f} s, longest stop {max(stops) * 1000:.0f} ms, {len(stops)} rounds of the loop"
    )
    assert len(state.groups) == WAITING
    assert len(stops) >= WAITING / 200, "nobody had a turn meanwhile"
    assert took_s < 20  # seconds on a quiet machine: one or two for 20,000
