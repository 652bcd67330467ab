"""What reporting says of stories whose figures anybody can count by hand."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from common.contracts import agents, codec, config, routing
from common.contracts.envelope import Envelope
from common.runtime.bus import Incoming
from common.runtime.clock import new_id
from common.runtime.database import open_engine
from reporting.adapters.figures import PostgresFigures
from reporting.adapters.read_models import PostgresReadModels
from reporting.consumers import apply
from tests.integration.conftest import Place

FROM, TO, NOW = 0, 100_000, 50_000


class Told:
    """Facts told to reporting, and its answers. Every test has queues, agents and a pool of its own."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", engine: AsyncEngine) -> None:
        self._connection = connection
        self.figures = PostgresFigures(engine)
        self.tag = new_id()[-12:]
        self.sequence = 0

    def name(self, short: str) -> str:
        return f"{short}-{self.tag}"

    async def facts(self, *facts: Any) -> None:
        records = []
        for fact in facts:
            self.sequence += 1
            about = {"event_id": self.name(str(self.sequence)), "type": codec.type_of(fact), "occurred_at_ms": 0}
            envelope = Envelope(**about, key="k", producer="t", sequence=self.sequence, epoch=1)
            shard = int(self.tag, 16)  # no other test's
            place = {"topic": "t", "partition": shard % 2_000_000_000, "offset": self.sequence}
            records.append(Incoming(**place, headers=(), value=b"", envelope=envelope, fact=fact))
        async with self._connection.transaction():
            await apply(PostgresReadModels(self._connection), records)

    async def queues(self, *names: str) -> None:
        for name in names:
            given: dict[str, Any] = {"requirements": (), "priority": 0, "offer_timeout_ms": 1, "wrap_up_ms": 0}
            about = {"queue": self.name(name), "pool": self.name("p"), "version": 1}
            await self.facts(config.QueueDefined(**about, **given, link_grace_ms=1, service_level_ms=1_000))

    async def summary(self, queue: str, *, now_ms: int = NOW) -> dict[str, Any]:
        found = await self.figures.summary(self.name(queue), from_ms=FROM, to_ms=TO, now_ms=now_ms)
        assert found is not None
        return found

    async def now(self, queue: str, *, from_ms: int) -> dict[str, Any]:
        rows, _ = await self.figures.by_queue(from_ms=from_ms)
        return next(row for row in rows if row["queue_id"] == self.name(queue))

    def about(self, contact: str, queue: str, at_ms: int, **more: Any) -> dict[str, Any]:
        names = {"contact_id": self.name(contact), "pool": self.name("p"), "queue": self.name(queue)}
        return {**names, "at_ms": at_ms, **more}

    def held(self, contact: str, queue: str, at_ms: int, agent: str = "ann") -> dict[str, Any]:
        return self.about(contact, queue, at_ms, attempt=1, agent_id=self.name(agent))

    def queued(self, contact: str, queue: str, at_ms: int, *, accepted_ms: int | None = None) -> routing.ContactQueued:
        when = {"accepted_at_ms": at_ms if accepted_ms is None else accepted_ms, "routing_age_at_ms": at_ms}
        return routing.ContactQueued(**self.about(contact, queue, at_ms), channel="voice", priority=0, units=6, **when)

    def answered(self, contact: str, queue: str, at_ms: int, *, units: int = 6, agent: str = "ann") -> list[Any]:
        held = self.held(contact, queue, at_ms, agent)
        more = {"session_no": 1, "priority": 0, "routing_age_at_ms": 0, "expires_at_ms": 0}
        made = routing.OfferMade(**held, channel="voice", units=units, **more)
        return [made, routing.OfferAccepted(**held, command_id="k")]

    def gave_up(self, contact: str, queue: str, at_ms: int) -> routing.ContactAbandoned:
        return routing.ContactAbandoned(**self.about(contact, queue, at_ms), reason="customer_gave_up")

    def picture(self, presence: Any, at_ms: int, *, units: int = 6, seq: int) -> agents.PresenceChanged:
        who = {"agent_id": self.name("ann"), "pool": self.name("p"), "session_no": 1, "seq": seq}
        return agents.PresenceChanged(**who, presence=presence, skills={}, units=units, at_ms=at_ms)


@pytest.fixture
async def told(place: Place) -> AsyncIterator[Told]:
    connection = await asyncpg.connect(place.dsns["reporting"])
    engine = open_engine(place.dsns["reporting"], name="t", size=1)
    yield Told(connection, engine)
    await engine.dispose()
    await connection.close()


def some(found: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(found[name] for name in names)


COUNTS = ("offered", "answered", "abandoned", "waiting")


async def test_a_transfer_leaves_the_first_queue_its_answer_and_gives_the_second_a_stay(told: Told) -> None:
    await told.queues("q", "r")
    passed = {"command_id": "t", "from_queue": told.name("q"), "to_agent": ""}
    await told.facts(
        told.queued("c", "q", 1_000),
        *told.answered("c", "q", 1_500),
        routing.ContactTransferred(**told.held("c", "r", 9_000), **passed),
    )

    first, second = await told.summary("q"), await told.summary("r", now_ms=12_000)
    assert some(first, *COUNTS, "service_level") == (1, 1, 0, 0, 1.0)
    assert some(second, *COUNTS, "transferred_in", "service_level") == (1, 0, 0, 1, 1, None)
    assert second["longest_wait_ms"] == 3_000
    assert some(first, "aht_ms", "asa_ms") == (7_500, 500)

    await told.facts(told.gave_up("c", "r", 20_000))

    assert some(await told.summary("q"), *COUNTS) == (1, 1, 0, 0)
    assert some(await told.summary("r"), *COUNTS, "service_level") == (1, 0, 1, 0, 0.0)


async def test_the_wait_of_a_scheduled_contact_begins_when_it_is_due(told: Told) -> None:
    await told.queues("q")
    scheduled = {"channel": "voice", "priority": 0, "accepted_at_ms": 1_000, "due_ms": 12_000}
    await told.facts(*[routing.ContactScheduled(**told.about(one, "q", 1_010), **scheduled) for one in ("a", "b")])

    before = await told.summary("q", now_ms=5_000)
    assert some(before, *COUNTS, "longest_wait_ms") == (0, 0, 0, 0, 0)
    assert before["callbacks"]["scheduled"] == 2

    await told.facts(
        told.queued("a", "q", 12_000, accepted_ms=1_000),
        *told.answered("a", "q", 12_200),
        routing.ContactCancelled(**told.about("b", "q", 7_000), reason="withdrawn"),
    )

    after = await told.summary("q")
    assert some(after, *COUNTS, "cancelled") == (1, 1, 0, 0, 0)
    assert some(after, "asa_ms", "service_level", "longest_wait_ms") == (200, 1.0, 200)
    names = ("scheduled", "ended_before_due", "offered", "answered", "service_level")
    assert some(after["callbacks"], *names) == (0, 1, 1, 1, 1.0)


async def test_a_wish_to_be_called_later_ends_the_stay_and_begins_another_when_due(told: Told) -> None:
    await told.queues("q")
    await told.facts(
        told.queued("c", "q", 1_000),
        routing.CallbackArranged(**told.about("c", "q", 3_000), actor="customer", due_ms=30_000),
    )
    kept = await told.summary("q")
    assert some(kept, *COUNTS, "put_off") == (1, 0, 0, 0, 1)
    assert kept["callbacks"]["scheduled"] == 1

    again = routing.CallbackArranged(**told.about("c", "q", 4_000), actor="customer", due_ms=40_000)
    due = told.queued("c", "q", 40_000, accepted_ms=1_000)
    await told.facts(again, due, *told.answered("c", "q", 40_900))

    done = await told.summary("q")
    assert some(done, *COUNTS, "contacts_offered", "asa_ms", "service_level") == (2, 1, 0, 0, 1, 900, 1.0)


async def test_who_lost_their_agent_or_has_an_offer_waits_and_is_offered_again(told: Told) -> None:
    await told.queues("q")
    await told.facts(
        told.queued("c", "q", 1_000),
        *told.answered("c", "q", 1_500),
        routing.ContactRequeued(**told.held("c", "q", 9_000), reason="link_lost"),
        told.queued("d", "q", 2_000),
        told.answered("d", "q", 2_500)[0],
    )

    found = await told.summary("q")
    assert some(found, *COUNTS, "requeued", "contacts_offered", "contacts_answered") == (3, 1, 0, 2, 1, 2, 1)
    assert found["aht_ms"] is None, "the lost line's stay is nobody's handling time"
    assert some(await told.now("q", from_ms=0), "waiting", "with_agents") == (2, 0)


async def test_whoever_waits_is_counted_however_long(told: Told) -> None:
    await told.queues("q")
    await told.facts(*[told.queued(f"c{number}", "q", 1_000) for number in range(11)])

    row = await told.now("q", from_ms=40_000_000)
    assert some(row, "offered", "waiting", "waiting_since_ms") == (0, 11, 1_000)
    found = await told.figures.summary(told.name("q"), from_ms=40_000_000, to_ms=50_000_000, now_ms=45_000_000)
    assert found is not None and some(found, "offered", "waiting", "longest_wait_ms") == (0, 11, 44_999_000)


async def test_overflow_from_queue_to_queue_is_a_stay_in_each(told: Told) -> None:
    await told.queues("q", "r")
    moved = {"from_queue": told.name("q"), "reason": "overflow"}
    await told.facts(
        told.queued("c", "q", 1_000),
        routing.ContactMoved(**told.about("c", "r", 5_000), **moved),  # type: ignore[arg-type]
        routing.ContactOverflowed(**told.about("c", "r", 6_000), reason="queue_full", message="full"),
        told.queued("d", "q", 2_000),
        routing.ContactExpired(**told.about("d", "q", 9_000), waited_ms=7_000),
    )

    assert some(await told.summary("q"), *COUNTS, "moved_out", "expired", "overflowed") == (2, 0, 0, 0, 1, 1, 0)
    assert some(await told.summary("r"), *COUNTS, "moved_in", "overflowed") == (1, 0, 0, 0, 1, 1)


async def test_occupancy_counts_units_in_use_while_their_agent_is_there(told: Told) -> None:
    await told.queues("q")
    await told.facts(
        told.picture("available", 0, seq=1),
        told.queued("a", "q", 1_000),
        *told.answered("a", "q", 1_000),
        routing.ContactPaused(**told.held("a", "q", 5_000), command_id="k"),
        told.queued("b", "q", 5_000),
        *told.answered("b", "q", 5_000),
        routing.WrapUpStarted(**told.held("b", "q", 8_000), ends_at_ms=20_000, actor="agent"),
        told.picture("offline", 10_000, seq=2),
        routing.ContactCompleted(**told.held("b", "q", 20_000), actor="router", reason="wrap_up_timeout"),
    )

    found = await told.summary("q")
    assert found["occupancy"] == pytest.approx(9 / 10), "paused takes nothing; after the sign-out nobody is there"


async def test_occupancy_is_above_one_only_where_capacity_is_exceeded(told: Told) -> None:
    await told.queues("q")
    await told.facts(
        told.picture("available", 0, units=4, seq=1),
        told.queued("a", "q", 0),
        *told.answered("a", "q", 0, units=6),
        told.picture("offline", 10_000, seq=2),
    )

    assert (await told.summary("q"))["occupancy"] == pytest.approx(6 / 4)
