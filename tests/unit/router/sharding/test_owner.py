"""However a reign ends, its shard is free again for whoever looks next."""

import asyncio
from collections.abc import Collection, Sequence
from itertools import count
from typing import Any

import pytest

from common.runtime.failures import InvariantBroken, Retryable
from router import metrics
from router.sharding.assignment import Lease, Plan
from router.sharding.owner import Reigns
from router.sharding.ports import Reign

SHARD = 7


class Leases:
    """Nothing to see: the plan below says what to do."""

    def __init__(self) -> None:
        self.renewed: list[set[int]] = []

    async def look(self) -> tuple[list[Lease], dict[str, int], list[str]]:
        return [], {}, []

    async def renew(self, epochs: dict[int, int]) -> set[int]:
        self.renewed.append(set(epochs))
        return set(epochs)


class Ledger:
    """Takes its time to close, as a server that has just come back does."""

    def __init__(self) -> None:
        self.closing, self.may_close = asyncio.Event(), asyncio.Event()

    async def close(self) -> None:
        self.closing.set()
        await self.may_close.wait()


class Shard:
    """Stands still."""

    turns = 0
    has_got_on = False

    def __init__(self, reign: Reign) -> None:
        self.reign = reign

    async def run(self) -> None:
        await asyncio.Event().wait()


class Clinging(Shard):
    """Stands still, and told to end it does not get through with tidying up."""

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()


class Turning(Shard):
    """Has turned once more at every look."""

    def __init__(self, reign: Reign) -> None:
        super().__init__(reign)
        self._count = count()

    @property
    def turns(self) -> int:  # type: ignore[override]
        return next(self._count)


class Surplus:
    """A watch that takes the shard when it is not ours, and gives it back at every look when it is."""

    gives_back = True

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.enough = asyncio.Event()

    def plan(
        self,
        _leases: Sequence[Lease],
        _instances: dict[str, int],
        *,
        mine: set[int],
        now_s: float,
        draining: Collection[str] = (),
    ) -> Plan:
        self.looks -= 1
        if self.looks == 0:
            self.enough.set()
        if SHARD in mine:
            return Plan(give_back=(SHARD,)) if self.gives_back else Plan()
        return Plan(take=(SHARD,))

    def long_gone(self) -> list[str]:
        return []


class Own(Surplus):
    """A watch that takes the shard when it is not ours, and is content when it is."""

    gives_back = False


@pytest.fixture
def hasty_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second goes by whenever the clock is asked."""
    seconds = count(1)
    monkeypatch.setattr("router.sharding.owner.monotonic_s", lambda: float(next(seconds)))


class World:
    """Reigns over fakes."""

    def __init__(self, *, watch: Surplus, shard: type[Shard] = Shard) -> None:
        self.ledger, self.leases, self.watch, self.taken = Ledger(), Leases(), watch, 0
        self.reigns = Reigns(
            leases=self.leases,  # type: ignore[arg-type]
            take=self._take,
            make_shard=lambda _ledger, reign, _doubtful, _care: shard(reign),  # type: ignore[arg-type,return-value]
            watch=watch,  # type: ignore[arg-type]
            scan_every_s=0.0,
            renew_every_s=0.0,
        )

    async def _take(self, _shard: int) -> Any:
        self.taken += 1
        return self.ledger, Reign(shard=SHARD, epoch=self.taken, last_seq=0, published_seq=0, offsets={})

    async def run_until_enough(self) -> None:
        self.ledger.may_close.set()
        task, enough = asyncio.create_task(self.reigns.run()), asyncio.create_task(self.watch.enough.wait())
        await asyncio.wait({task, enough}, return_when=asyncio.FIRST_COMPLETED)
        assert not task.done(), task.exception()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_shard_that_is_slow_to_be_given_back_is_free_in_the_end() -> None:
    world = World(watch=Surplus(looks=20))
    task = asyncio.create_task(world.reigns.run())
    await world.watch.enough.wait()  # told to go again and again while it is on its way out
    assert world.ledger.closing.is_set()
    reign = world.reigns._tasks[SHARD]
    over = asyncio.Event()
    reign.add_done_callback(lambda _: over.set())
    world.ledger.may_close.set()
    await over.wait()

    assert SHARD not in world.reigns._tasks, "nobody would ever take it again"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.usefixtures("hasty_clock")
async def test_a_reign_that_stands_still_is_ended_and_another_begins() -> None:
    world = World(watch=Own(looks=30))

    await world.run_until_enough()

    assert world.taken > 1


@pytest.mark.usefixtures("hasty_clock")
async def test_a_reign_that_gets_on_is_left_alone() -> None:
    world = World(watch=Own(looks=100), shard=Turning)

    await world.run_until_enough()

    assert world.taken == 1


@pytest.mark.usefixtures("hasty_clock")
async def test_a_reign_that_does_not_even_end_is_not_renewed_and_ends_the_process() -> None:
    world = World(watch=Own(looks=1_000), shard=Clinging)
    world.ledger.may_close.set()

    with pytest.raises(InvariantBroken, match="the reign over shard 7"):
        await world.reigns.run()

    assert {SHARD} in world.leases.renewed, "it was renewed while nobody knew"
    assert world.leases.renewed[-1] == set()


@pytest.mark.usefixtures("hasty_clock")
async def test_reigns_that_fail_one_after_the_other_do_not_stand_still() -> None:
    world = World(watch=Own(looks=100))
    looking = asyncio.Event()

    async def fail_slowly(_shard: int) -> Any:
        world.taken += 1
        await looking.wait()
        raise Retryable("the database is away")

    async def look_slowly() -> tuple[list[Lease], dict[str, int], list[str]]:
        looking.set()  # whoever reigned is over before this look is, and the next one begins right after it
        await asyncio.gather(*world.reigns._tasks.values())
        looking.clear()
        return [], {}, []

    world.reigns._take, world.leases.look = fail_slowly, look_slowly  # type: ignore[method-assign]
    before = metrics.reigns_ended.labels("stalled")._value.get()

    await world.run_until_enough()

    assert world.taken > 50
    assert metrics.reigns_ended.labels("stalled")._value.get() == before


@pytest.mark.usefixtures("hasty_clock")
async def test_a_lost_reign_is_counted_once_however_long_it_takes_to_end() -> None:
    world = World(watch=Own(looks=8), shard=Clinging)

    async def renew(_epochs: dict[int, int]) -> set[int]:
        return set()

    world.leases.renew = renew  # type: ignore[method-assign]
    before = metrics.reigns_ended.labels("lost")._value.get()

    await world.run_until_enough()

    assert metrics.reigns_ended.labels("lost")._value.get() == before + 1
