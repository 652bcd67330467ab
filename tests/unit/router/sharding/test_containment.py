"""One bad record never stops a shard: the real loops, over a bus and tables in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from common.contracts import agents, contacts
from common.contracts.config import QueueDefined
from common.contracts.policies import Need
from common.contracts.topics import AGENTS, CONFIG, CONTACTS, ROUTING, shard_of
from common.runtime.bus import Place, envelope_for, outgoing
from common.runtime.clock import SystemClock, monotonic_s
from common.runtime.failures import Retryable
from common.testing.bus import MemoryBus
from common.testing.database import MemoryServer
from common.testing.faults import GoodLine
from router import metrics
from router.core import State, engine
from router.core.model import events
from router.sharding import worker
from router.sharding.assignment import Watch
from router.sharding.containment import SET_ASIDE_MAX, TRIES_MAX, Blame, Care
from router.sharding.owner import SHORT_MAX, Reigns
from router.sharding.ports import Diverged, LogLine
from router.sharding.worker import Shard
from router.testing import MemoryLeases, MemoryLedger, RouterTables, take
from tests.support.turns import turn

POOL = "p"
SHARD = shard_of(POOL)
TOPICS = [topic.name for topic in (CONFIG, AGENTS, CONTACTS)]


class World:
    """One router with one pool."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("router.sharding.owner.AFTER_FAILURE_S", 0.01)
        monkeypatch.setattr("router.sharding.owner.PAUSE_MAX_S", 0.05)
        self.patch = monkeypatch
        self.bus, self.clock, self.line = MemoryBus(), SystemClock(), GoodLine()
        self.tables = RouterTables(MemoryServer(monotonic_s))
        self.tables.queues["q"] = QueueDefined(
            queue="q",
            pool=POOL,
            version=1,
            requirements=(),
            priority=0,
            offer_timeout_ms=20_000,
            wrap_up_ms=0,
            link_grace_ms=15_000,
            service_level_ms=20_000,
        )
        self.ledgers: list[MemoryLedger] = []
        self.shards: list[Shard] = []
        self.reigns = Reigns(
            leases=MemoryLeases(self.tables, self.line, me="me"),
            take=self._take,
            make_shard=self._make,
            watch=Watch(me="me", takeover_s=9),
            scan_every_s=0.01,
            renew_every_s=0.01,
            jitter=lambda: 0.0,
        )

    async def _take(self, number: int) -> Any:
        if number != SHARD:
            return None
        found = await take(self.tables, self.line, shard=number, owner="me", topics=TOPICS)
        if found is not None:
            self.ledgers.append(found[0])
        return found

    def _make(self, ledger: Any, reign: Any, doubtful: bool, care: Care) -> Shard:
        made = Shard(
            ledger=ledger,
            reign=reign,
            bus=self.bus,
            publisher=self.bus,
            clock=self.clock,
            topic_prefix="",
            doubtful=doubtful,
            care=care,
        )
        self.shards.append(made)
        return made

    async def say(self, topic: str, *facts: Any) -> None:
        """All of them are there at once."""
        records = []
        for fact in facts:
            key = getattr(fact, "contact_id", getattr(fact, "agent_id", ""))
            about = envelope_for(fact, event_id=key, at_ms=self.clock.now_ms(), key=key, producer="test")
            records.append(outgoing(topic, SHARD, about, fact))
        await self.bus.publish(records)

    def submitted(self, contact_id: str, **changes: Any) -> contacts.ContactSubmitted:
        values = {"pool": POOL, "queue": "q", "channel": "voice", "priority": 0, "requirements": ()}
        return contacts.ContactSubmitted(
            contact_id=contact_id, accepted_at_ms=self.clock.now_ms(), **{**values, **changes}
        )

    def signed_in(self, agent_id: str) -> agents.SessionStarted:
        return agents.SessionStarted(
            agent_id=agent_id,
            pool=POOL,
            session_no=1,
            seq=1,
            presence="available",
            skills={},
            units=6,
            at_ms=self.clock.now_ms(),
        )

    def told(self, kind: str) -> list[str]:
        """The keys of all facts of this type that reached the bus."""
        found = [one.envelope for one in self.bus.stored(ROUTING.name) if one.envelope is not None]
        return [one.key for one in found if one.type == kind]

    @property
    def parked(self) -> list[tuple[str, str]]:
        return [(str(getattr(one.fact, "contact_id", "")), one.bad) for one in self.tables.positions.parked.values()]

    @asynccontextmanager
    async def reigning(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reigns.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until(self, look: Callable[[], bool]) -> None:
        """`look` is true in the end; the loop goes round as often as it takes."""
        async with asyncio.timeout(60):
            while not look():
                await turn()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def poison(world: World, contact_id: str, error: BaseException) -> None:
    """From now on the core cannot take this contact in."""
    take_in = engine.HANDLERS[events.ContactArrived]

    def fail(state: State, told: Any, decided: Any) -> None:
        if told.contact_id == contact_id:
            raise error
        take_in(state, told, decided)

    world.patch.setitem(engine.HANDLERS, events.ContactArrived, fail)


@pytest.mark.parametrize(
    "error", [AssertionError("x"), KeyError("x"), RecursionError(), ZeroDivisionError(), LookupError()]
)
async def test_a_record_that_no_core_can_take_is_parked_after_three_tries_and_the_pool_goes_on(
    world: World, error: Exception
) -> None:
    kind = type(error).__name__
    before = metrics.failures.labels(kind)._value.get(), metrics.reigns_ended.labels("failed")._value.get()
    poison(world, "c3", error)
    await world.say(CONTACTS.name, *(world.submitted(f"c{number}") for number in range(1, 6)))
    await world.say(AGENTS.name, world.signed_in("ann"))

    with capture_logs() as log:
        async with world.reigning():
            await world.until(lambda: set(world.told("contact.queued")) >= {"c1", "c2", "c4", "c5"})
            await world.until(lambda: len(world.told("offer.made")) == 1)

    assert [name for name, _ in world.parked] == ["c3"]
    assert f"{TRIES_MAX} times" in world.parked[0][1]
    assert metrics.failures.labels(kind)._value.get() == before[0] + TRIES_MAX
    assert metrics.reigns_ended.labels("failed")._value.get() == before[1] + TRIES_MAX
    said = [one for one in log if one["event"] == "reign_failed"]
    assert len(said) == TRIES_MAX
    assert all("contacts.v1" in one["record"][0] and one["kind"] == kind for one in said)


async def test_a_parked_record_is_not_read_again_by_the_next_owner(world: World) -> None:
    poison(world, "c1", KeyError("x"))
    await world.say(CONTACTS.name, world.submitted("c1"))
    async with world.reigning():
        await world.until(lambda: world.parked != [])
        await world.until(lambda: world.tables.leases[SHARD].offsets.get(f"{CONTACTS.name}/{SHARD}") == 1)
        owners = len(world.shards)
        world.ledgers[-1]._session.end()
        await world.say(CONTACTS.name, world.submitted("c2"))
        await world.until(lambda: world.told("contact.queued") == ["c2"])

    assert len(world.shards) == owners + 1, "it failed again"


async def test_of_a_batch_that_the_database_refuses_only_the_culprit_is_parked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = MemoryLedger.commit

    async def refuse(ledger: MemoryLedger, reign: Any, batch: Any) -> None:
        if any(row.contact_id == "c3" for row in batch.new_contacts):
            raise Diverged("a value that no table takes")
        await commit(ledger, reign, batch)

    monkeypatch.setattr(MemoryLedger, "commit", refuse)
    await world.say(CONTACTS.name, *(world.submitted(f"c{number}") for number in range(1, 6)))

    async with world.reigning():
        await world.until(lambda: set(world.told("contact.queued")) >= {"c1", "c2", "c4", "c5"})

    assert [name for name, _ in world.parked] == ["c3"]


async def test_a_need_that_would_hurt_is_parked_at_once(world: World) -> None:
    need = Need(skill="es")
    for _ in range(9):
        need = Need(all=(need,))
    await world.say(CONTACTS.name, world.submitted("deep", need=need), world.submitted("good"))

    async with world.reigning():
        await world.until(lambda: world.told("contact.queued") == ["good"])

    assert [name for name, _ in world.parked] == ["deep"] and len(world.shards) == 1


async def test_a_timer_that_makes_every_step_fail_rings_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run_out = engine.run_out

    def fail(state: State, contact_id: str, decided: Any) -> None:
        if contact_id == "c1":
            raise AssertionError("this contact cannot be")
        run_out(state, contact_id, decided)

    monkeypatch.setattr(engine, "run_out", fail)
    before = metrics.timers_set_aside._value.get()
    due = world.clock.now_ms() + 150
    await world.say(CONTACTS.name, *(world.submitted(name, not_before_ms=due) for name in ("c1", "c2")))

    async with world.reigning():
        await world.until(lambda: world.told("contact.queued") == ["c2"])
        await world.say(CONTACTS.name, world.submitted("c3"))
        await world.until(lambda: "c3" in world.told("contact.queued"))

    assert world.parked == [], "no record has a part in it"
    assert len(world.shards) == 1 + TRIES_MAX
    assert metrics.timers_set_aside._value.get() == before + 1


async def test_a_shard_that_cannot_be_rebuilt_waits_longer_and_longer_and_is_said_by_readiness(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_ledger: MemoryLedger, **_: Any) -> State:
        raise AssertionError("rows that do not fit together")

    rebuild = MemoryLedger.rebuild
    monkeypatch.setattr(MemoryLedger, "rebuild", fail)
    assert world.reigns.trouble == ""

    async with world.reigning():
        await world.until(lambda: world.reigns.trouble != "")
        assert len(world.shards) == SHORT_MAX and str(SHARD) in world.reigns.trouble
        monkeypatch.setattr("router.sharding.owner.SHORT_S", 0.05)
        monkeypatch.setattr(MemoryLedger, "rebuild", rebuild)
        await world.until(lambda: world.reigns.trouble == "")


def test_pauses_between_failures_grow_and_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.sharding.owner.monotonic_s", lambda: 100.0)
    reigns = Reigns(
        leases=None,  # type: ignore[arg-type]
        take=None,  # type: ignore[arg-type]
        make_shard=None,  # type: ignore[arg-type]
        watch=None,  # type: ignore[arg-type]
        scan_every_s=1,
        renew_every_s=1,
        jitter=lambda: 0.5,
    )
    pauses = []
    for _ in range(12):
        reigns._rest(3, 99.0, away=False, failed=True)
        pauses.append(reigns._rest_until[3] - 100.0)
    reigns._rest(4, 99.0, away=True, failed=False)

    assert pauses[0] == pytest.approx(0.3 * 1.25) and pauses[3] == pytest.approx(2.4 * 1.25)
    assert pauses == sorted(pauses) and pauses[-1] == pytest.approx(30 * 1.25)
    assert reigns._rest_until[4] - 100.0 == pytest.approx(0.3 * 1.25)


async def test_the_log_that_is_not_published_yet_is_loaded_bit_by_bit_while_the_shard_decides(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOADED_TOGETHER", 10)
    lines = 95
    world.tables.log[SHARD] = [
        LogLine(seq=n, epoch=0, type="contact.queued", at_ms=1, key=f"old{n}", body="{}") for n in range(1, lines + 1)
    ]
    world.tables.leases[SHARD].last_seq = lines
    loaded: list[int] = []
    unpublished = MemoryLedger.unpublished

    async def note(ledger: MemoryLedger, reign: Any, *, after_seq: int, lines_max: int) -> list[LogLine]:
        found = await unpublished(ledger, reign, after_seq=after_seq, lines_max=lines_max)
        loaded.append(len(world.shards[-1]._pending) + len(found))
        return found

    monkeypatch.setattr(MemoryLedger, "unpublished", note)
    publish, may_publish = world.bus.publish, asyncio.Event()

    async def hold(records: Any) -> None:
        if any(one.topic == ROUTING.name for one in records):
            await may_publish.wait()
        await publish(records)

    monkeypatch.setattr(world.bus, "publish", hold)
    await world.say(CONTACTS.name, world.submitted("new"))

    async with world.reigning():
        await world.until(lambda: "new" in world.tables.contacts)  # nothing of the old log is through yet
        may_publish.set()
        await world.until(lambda: "new" in world.told("contact.queued"))
        await world.say(CONTACTS.name, world.submitted("newer"))
        await world.until(lambda: "newer" in world.told("contact.queued"))

    assert world.told("contact.queued") == [f"old{n}" for n in range(1, lines + 1)] + ["new", "newer"]
    assert max(loaded) <= 10


async def test_while_the_bus_is_away_nothing_is_rebuilt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rebuilt: list[int] = []
    rebuild = MemoryLedger.rebuild

    async def note(ledger: MemoryLedger, **about: Any) -> State:
        rebuilt.append(1)
        return await rebuild(ledger, **about)

    async def away(offsets: Any, *, at_once: bool) -> Any:
        raise Retryable("the bus is away")

    monkeypatch.setattr(MemoryLedger, "rebuild", note)
    monkeypatch.setattr(world.bus, "reader", away)

    async with world.reigning():
        await world.until(lambda: len(world.shards) >= 3)

    assert rebuilt == [] and world.reigns.trouble == ""


def test_care_forgets_what_was_got_past_and_has_a_bound() -> None:
    care, place = Care(), Place(topic="contacts.v1", partition=7)
    for number in range(SET_ASIDE_MAX + 50):
        for _ in range(TRIES_MAX):
            care.failed(Blame(timer=("contact", str(number))))
    assert len(care.set_aside) == SET_ASIDE_MAX and not care.timer_tries

    care.suspect_until[place] = 10
    care.tries[place, 9] = 2
    assert care.is_careful({place: 9})
    assert not care.is_careful({place: 10})
    assert not care.tries
