"""However a reign ends, its shard is free again for whoever looks next."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from router.ownership import Lease, Plan
from router.ports import Reign
from router.reigns import Reigns

SHARD = 7


class Leases:
    """Nothing to see: the plan below says what to do."""

    async def look(self) -> tuple[list[Lease], dict[str, int], list[str]]:
        return [], {}, []

    async def renew(self, epochs: dict[int, int]) -> set[int]:
        return set(epochs)


class Ledger:
    """Takes its time to close, as a server that has just come back does."""

    def __init__(self) -> None:
        self.closing, self.may_close = asyncio.Event(), asyncio.Event()

    async def close(self) -> None:
        self.closing.set()
        await self.may_close.wait()


class Shard:
    def __init__(self, reign: Reign) -> None:
        self.reign = reign

    async def run(self) -> None:
        await asyncio.Event().wait()


class Surplus:
    """A watch that takes the shard when it is not ours, and gives it back at every look when it is."""

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
        return Plan(give_back=(SHARD,)) if SHARD in mine else Plan(take=(SHARD,))

    def long_gone(self) -> list[str]:
        return []


async def test_a_shard_that_is_slow_to_be_given_back_is_free_in_the_end() -> None:
    ledger = Ledger()

    async def take(_shard: int) -> Any:
        return ledger, Reign(shard=SHARD, epoch=1, last_seq=0, published_seq=0, offsets={})

    watch = Surplus(looks=20)
    reigns = Reigns(
        leases=Leases(),  # type: ignore[arg-type]
        take=take,
        make_shard=lambda _ledger, reign, _doubtful: Shard(reign),  # type: ignore[arg-type,return-value]
        watch=watch,  # type: ignore[arg-type]
        scan_every_s=0.0,
        renew_every_s=60.0,
    )
    task = asyncio.create_task(reigns.run())
    await watch.enough.wait()  # told to go again and again while it is on its way out
    assert ledger.closing.is_set()
    reign = reigns._tasks[SHARD]
    over = asyncio.Event()
    reign.add_done_callback(lambda _: over.set())
    ledger.may_close.set()
    await over.wait()

    assert SHARD not in reigns._tasks, "nobody would ever take it again"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
