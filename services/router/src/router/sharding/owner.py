"""The loops that take shards, reign over them, renew the leases and give surplus ones back."""

import asyncio
from collections.abc import Callable, Collection

import structlog

from common.runtime.back_off import BackOff, pause_s
from common.runtime.clock import jitter, monotonic_s
from common.runtime.database import AWAY
from common.runtime.failures import InvariantBroken, Retryable, strays_as_trouble
from router import metrics
from router.sharding.assignment import Watch
from router.sharding.containment import Blame, Care, cause_of, described, where
from router.sharding.ports import Diverged, Fenced, Leases, Ledger, Reign, Take
from router.sharding.stall_detector import STALLED_S, Progress
from router.sharding.worker import Shard

log = structlog.get_logger()

AFTER_FAILURE_S = 0.3
SHORT_S = 5.0
"""A reign that ends earlier got nowhere; the next one waits longer than the one before."""
SHORT_MAX = 5
"""After so many short reigns in a row this instance is not ready."""
PAUSE_MAX_S = 30.0
"""The longest pause before the next reign, after mistakes of ours."""
WHY_CHARS_MAX = 500
FORGOTTEN_S = 60.0
"""Short reigns so long ago say nothing any more: perhaps another instance does better."""
AFTER_GIVING_BACK_S = 1.0

MakeShard = Callable[[Ledger, Reign, bool, Care], Shard]


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
        jitter: Callable[[], float] = jitter,
    ) -> None:
        """`jitter`: a number from 0 to 1, another one each time."""
        self._leases = leases
        self._take = take
        self._make_shard = make_shard
        self._watch = watch
        self._scan_every_s = scan_every_s
        self._renew_every_s = renew_every_s
        self._jitter = jitter
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._rest_until: dict[int, float] = {}
        self._diverged: set[int] = set()
        self._care: dict[int, Care] = {}
        self._began_s: dict[int, float] = {}
        self._short: dict[int, tuple[int, float]] = {}
        self._told: dict[int, str] = {}
        self._progress = Progress()
        self.shards: dict[int, Shard] = {}
        self.looked_at_s = 0.0

    async def run(self) -> None:
        """Watch and reign until cancelled; then give everything back."""
        back_off = BackOff(AFTER_FAILURE_S)
        try:
            while True:
                try:
                    with strays_as_trouble():
                        await self._watch_for_ever()
                except (Retryable, *AWAY) as why:
                    log.warning("leases_not_seen", why=repr(why))
                    await self._leases.forget_connection()
                    await back_off.pause()
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
            self._forget_short(monotonic_s())
            metrics.shards_failing.set(len(self._failing()))
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

    @property
    def trouble(self) -> str:
        """Why this instance should not count as ready; empty while it gets on."""
        failing = self._failing()
        return f"shards {failing} fail again and again; see the log: reign_failed" if failing else ""

    def _failing(self) -> list[int]:
        return sorted(number for number, (count, _) in self._short.items() if count >= SHORT_MAX)

    def _forget_short(self, now_s: float) -> None:
        """Reigns that last, and failures of long ago, count no more."""
        lasting = {number for number, began_s in self._began_s.items() if now_s - began_s > SHORT_S}
        for number, (_, at_s) in list(self._short.items()):
            if number in lasting or now_s - at_s > FORGOTTEN_S:
                del self._short[number]

    def _rest(self, number: int, began_s: float | None, *, away: bool, failed: bool) -> None:
        """How long the shard is left to others. A reign that we were to end, and one that the world ended, is not to blame."""
        now_s = monotonic_s()
        count = 0
        is_short = failed if began_s is None else now_s - began_s <= SHORT_S
        if is_short and not away and self._told.pop(number, "lost") == "lost":
            count = self._short.get(number, (0, 0.0))[0] + 1
            self._short[number] = (count, now_s)
        rest_s = pause_s(count, first_s=AFTER_FAILURE_S, longest_s=PAUSE_MAX_S, chance=self._jitter)
        self._rest_until[number] = max(self._rest_until.get(number, 0.0), now_s + rest_s)

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
        self._told[number] = why
        task.cancel()
        return True

    async def _reign(self, number: int) -> None:
        ledger: Ledger | None = None
        began_s: float | None = None
        away = failed = False
        self._told.pop(number, None)
        try:
            taken = await self._take(number)
            if taken is None:
                return
            ledger, reign = taken
            care = self._care.setdefault(number, Care())
            shard = self.shards[number] = self._make_shard(ledger, reign, number in self._diverged, care)
            began_s = self._began_s[number] = monotonic_s()
            metrics.takeovers.labels(str(number)).inc()
            metrics.reign_epoch.labels(str(number)).set(reign.epoch)
            log.info("reign_began", shard=number, epoch=reign.epoch, last_seq=reign.last_seq)
            await shard.run()
        except* Fenced as why:
            metrics.fenced.inc()
            metrics.reigns_ended.labels("fenced").inc()
            log.warning("reign_fenced", shard=number, why=str(cause_of(why)))
        except* Diverged as why:
            metrics.divergences.inc()
            metrics.reigns_ended.labels("diverged").inc()
            failed = True
            self._diverged.add(number)
            self._heed(number, cause_of(why), "memory_diverged")
        except* (Retryable, *AWAY) as why:
            away = True
            metrics.reigns_ended.labels("cut_off").inc()
            log.warning("reign_cut_off", shard=number, why=repr(cause_of(why)))
        except* Exception as why:
            failed = True
            cause = cause_of(why)
            metrics.failures.labels(type(cause).__name__).inc()
            metrics.reigns_ended.labels("failed").inc()
            self._heed(number, cause, "reign_failed")
        finally:
            gone = self.shards.pop(number, None)
            if gone is not None:
                metrics.reign_epoch.remove(str(number))
            self._began_s.pop(number, None)
            if gone is not None and gone.has_got_on and failed:
                self._short.pop(number, None)  # however short it was, it got somewhere
            self._rest(number, began_s, away=away, failed=failed)
            if ledger is not None:
                await asyncio.shield(ledger.close())

    def _heed(self, number: int, cause: BaseException, event: str) -> None:
        """Say what failed and what was being applied, and remember it for the next reign."""
        shard = self.shards.get(number)
        blame = Blame() if shard is None else shard.blame
        if shard is not None:
            self._care[number].failed(blame)
        log.error(
            event,
            shard=number,
            kind=type(cause).__name__,
            where=where(cause),
            why=str(cause)[:WHY_CHARS_MAX],
            records=described(blame.records),
            record=described([blame.record] if blame.record is not None else []),
            timer=blame.timer,
        )
