"""The loops that take shards, reign over them, renew the leases and give surplus ones back."""

import asyncio
from collections.abc import Callable, Collection

import structlog

from common.runtime.clock import monotonic_s
from common.runtime.database import AWAY
from common.runtime.failures import InvariantBroken, Retryable
from router import metrics
from router.ownership import Watch
from router.ports import Diverged, Fenced, Leases, Ledger, Reign, Take
from router.progress import STALLED_S, Progress
from router.shard import Shard

log = structlog.get_logger()

AFTER_FAILURE_S = 0.3
AFTER_GIVING_BACK_S = 1.0

MakeShard = Callable[[Ledger, Reign, bool], Shard]


class Reigns:
    """All shards of this process."""

    def __init__(
        self,
        *,
        leases: Leases,
        take: Take,
        make_shard: MakeShard,
        watch: Watch,
        scan_every_s: float,
        renew_every_s: float,
    ) -> None:
        self._leases = leases
        self._take = take
        self._make_shard = make_shard
        self._watch = watch
        self._scan_every_s = scan_every_s
        self._renew_every_s = renew_every_s
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._rest_until: dict[int, float] = {}
        self._diverged: set[int] = set()
        self._progress = Progress()
        self.shards: dict[int, Shard] = {}
        self.looked_at_s = 0.0

    async def run(self) -> None:
        """Watch and reign until cancelled; then give everything back."""
        try:
            while True:
                try:
                    await self._watch_for_ever()
                except (Retryable, *AWAY) as why:
                    log.warning("leases_not_seen", why=repr(why))
                    await self._leases.forget_connection()
                    await asyncio.sleep(AFTER_FAILURE_S)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _watch_for_ever(self) -> None:
        renewed_at = 0.0
        while True:
            now_s = monotonic_s()
            stalled = self._end_stalled(now_s)
            if now_s - renewed_at >= self._renew_every_s:
                await self._renew(stalled)
                renewed_at = now_s
                for name in self._watch.long_gone():
                    await self._leases.forget_instance(name)
                    del self._watch.instances[name]
            await self._look()
            metrics.shards_owned.set(len(self.shards))
            await asyncio.sleep(self._scan_every_s)

    def _end_stalled(self, now_s: float) -> set[int]:
        """End reigns that stand still, and say which. Raises `InvariantBroken` when one does not even end: crash, then."""
        marks = {
            number: (task, self.shards[number].turns if number in self.shards else 0)
            for number, task in self._tasks.items()
        }
        still_s = self._progress.still_s(marks, now_s)
        stalled = {number for number, seconds in still_s.items() if seconds >= STALLED_S}
        for number in sorted(stalled):
            if still_s[number] >= 2 * STALLED_S:
                raise InvariantBroken(f"the reign over shard {number} stands still and does not end")
            if self._end(number, "stalled"):
                log.error("reign_stalled", shard=number, still_s=round(still_s[number], 1))
        return stalled

    async def _renew(self, stalled: Collection[int]) -> None:
        """Renew, and let go of shards that another reign has taken: one that has nothing to commit would never notice.

        Who is `stalled` is not renewed: while it is on its way out, another instance may break its lease.
        """
        epochs = {number: shard.reign.epoch for number, shard in self.shards.items() if number not in stalled}
        for number in sorted(set(epochs) - await self._leases.renew(epochs)):
            shard = self.shards.get(number)
            if shard is not None and shard.reign.epoch == epochs[number] and self._end(number, "lost"):
                log.warning("reign_lost", shard=number, epoch=epochs[number])

    async def _look(self) -> None:
        leases, instances, draining = await self._leases.look()
        now_s = self.looked_at_s = monotonic_s()
        plan = self._watch.plan(leases, instances, mine=set(self._tasks), now_s=now_s, draining=draining)
        if plan.break_open:
            log.warning("reigns_broken_open", shards=plan.break_open)
            await self._leases.break_open(plan.break_open)
        for shard in (*plan.break_open, *plan.take):
            if self._rest_until.get(shard, 0.0) <= now_s and shard not in self._tasks:
                self._begin(shard)
        for shard in plan.give_back:
            if self._end(shard, "given_back"):
                log.info("shard_given_back", shard=shard)
                self._rest_until[shard] = now_s + AFTER_GIVING_BACK_S

    def _begin(self, number: int) -> None:
        task = self._tasks[number] = asyncio.create_task(self._reign(number))
        # however it ends, it is no longer ours: a shard that we believe to have and do not reign over is nobody's
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    def _end(self, number: int, why: str) -> bool:
        """Tell a reign to go, once: a second time would break off its tidying up. False when it is gone or going already."""
        task = self._tasks.get(number)
        if task is None or task.cancelling():
            return False
        metrics.reigns_ended.labels(why).inc()
        task.cancel()
        return True

    async def _reign(self, number: int) -> None:
        ledger: Ledger | None = None
        try:
            taken = await self._take(number)
            if taken is None:
                return
            ledger, reign = taken
            shard = self.shards[number] = self._make_shard(ledger, reign, number in self._diverged)
            metrics.takeovers.labels(str(number)).inc()
            metrics.reign_epoch.labels(str(number)).set(reign.epoch)
            log.info("reign_began", shard=number, epoch=reign.epoch, last_seq=reign.last_seq)
            await shard.run()
        except* Fenced as why:
            metrics.fenced.inc()
            metrics.reigns_ended.labels("fenced").inc()
            log.warning("reign_fenced", shard=number, why=str(why.exceptions[0]))
        except* Diverged as why:
            metrics.divergences.inc()
            metrics.reigns_ended.labels("diverged").inc()
            self._diverged.add(number)
            log.error("memory_diverged", shard=number, why=str(why.exceptions[0]))
        except* (Retryable, *AWAY) as why:
            metrics.reigns_ended.labels("cut_off").inc()
            log.warning("reign_cut_off", shard=number, why=repr(why.exceptions[0]))
        finally:
            if self.shards.pop(number, None) is not None:
                metrics.reign_epoch.remove(str(number))
            self._rest_until.setdefault(number, 0.0)
            self._rest_until[number] = max(self._rest_until[number], monotonic_s() + AFTER_FAILURE_S)
            if ledger is not None:
                await asyncio.shield(ledger.close())
