"""One reign over one shard: read, decide in memory, commit in one statement, then publish."""

import asyncio
import gc
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from common.contracts import contacts
from common.contracts.envelope import Envelope, to_headers
from common.contracts.needs import size_faults
from common.contracts.policies import ANYBODY
from common.contracts.topics import ROUTING
from common.runtime.back_off import BackOff
from common.runtime.bus import Bus, Incoming, Outgoing, Publisher, Reader
from common.runtime.clock import Clock, monotonic_s
from common.runtime.database import AWAY
from common.runtime.failures import Retryable
from common.runtime.following import note_read
from common.runtime.metrics import parked
from common.runtime.tracing import applying
from router import metrics
from router.core import State, step
from router.core.index.state import next_due_ms
from router.core.model import events
from router.core.model.contact import Contact
from router.core.model.queue import Queue
from router.policies import opening_hours
from router.sharding.batch import Decided, make_batch
from router.sharding.containment import TRIES_MAX, Blame, Care, described
from router.sharding.elsewhere import Elsewhere
from router.sharding.ports import Fenced, Ledger, LogLine, Reign
from router.sharding.scorers import Asking, Scorer
from router.sharding.wait_estimates import Forecasts, Told
from router.translate import input_from

log = structlog.get_logger()

Heard = tuple[Incoming | None, events.Input]
"""What the core is told, and the record that says it."""

INPUTS_MAX = 64
"""Inputs of one batch. More wait in the reader's buffer for the next one."""
READ_WAIT_MS = 250
STRETCH_S = 0.01
"""After deciding for so long the rest of the process has its turn, the loop that renews leases above all."""
HOURS_EVERY_MS = 1_000
UNPUBLISHED_MAX = 20_000
"""Lines committed in this reign that may wait for Kafka; beyond it the shard reads no more until some are through."""
LOADED_TOGETHER = 1_000
"""Lines of earlier reigns that are loaded at a time to be published; no more of them lie in memory."""
PUBLISH_MAX = 200
PUBLISH_AGAIN_S = 0.3
FRESH_MS = 60_000
"""A submission younger than this is surely in memory if we took it in before, also after a rebuild, which brings back what
ended in the last minutes; an older one is looked up."""


class Shard:
    """Decides for the pools of one shard until it is cancelled, fenced or cut off."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        reign: Reign,
        bus: Bus,
        publisher: Publisher,
        clock: Clock,
        topic_prefix: str,
        doubtful: bool = False,
        scorers: Mapping[str, Scorer] | None = None,
        care: Care | None = None,
    ) -> None:
        """`doubtful`: memory was wrong in the last reign, so every submission is looked up. `care`: what failures of the reigns
        before taught.

        `turns` grows as long as the reign gets on, contacts or not; `has_got_on`: it committed something.
        """
        self.reign = reign
        self._ledger = ledger
        self._bus = bus
        self._publisher = publisher
        self._clock = clock
        self._topic = topic_prefix + ROUTING.name
        self._pending: deque[LogLine] = deque()
        self._wake = asyncio.Event()
        self._units_known: dict[str, int] = {}
        self._elsewhere = Elsewhere(ledger)
        self._forecasts = Forecasts()
        self._open: dict[str, bool] = {}
        self._hours_at_ms = 0
        self._asking = Asking(scorers or {})
        self._reading: asyncio.Task[Sequence[Incoming]] | None = None
        self._care = care or Care()
        self._applied: Incoming | None = None
        self._has_parked = False
        self._is_caught_up = False
        self._begun_at_seq = reign.last_seq
        self._statement = asyncio.Lock()
        self.blame = Blame()
        self.has_got_on = False
        self.is_ready = False
        self.turns = 0
        self._doubtful = doubtful

    async def run(self) -> None:
        """Reign. Raises `Fenced`, `Diverged`, `Retryable`, or what a mistake of ours raises: then memory is worth nothing any
        more, and `blame` says what was being applied.
        """
        # the reader first: while there is none, a rebuild would be in vain
        reader = await self._bus.reader(self.reign.offsets, at_once=True)
        try:
            self.turns += 1
            gc.collect()  # a tenure that failed lies about in cycles, and would be frozen with the new one
            self._state = await self._ledger.rebuild(now_ms=self._clock.now_ms(), got_on=self._turn)
            self._state.set_aside = set(self._care.set_aside)
            gc.freeze()  # it lives as long as the reign: looking through it for cycles again and again would be in vain
            self.is_ready = True
            self.turns += 1
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._publish_for_ever())
                tasks.create_task(self._decide_for_ever(reader))
        finally:
            self.is_ready = False
            self._asking.stop()
            if self._reading is not None:
                self._reading.cancel()
            await reader.close()

    def _turn(self) -> None:
        self.turns += 1

    @property
    def state(self) -> State:
        """The core's state, to look at."""
        return self._state

    def contact(self, contact_id: str) -> Contact | None:
        """A live contact."""
        return self._state.contacts.get(contact_id)

    def forecast(self, contact_id: str) -> Told | None:
        """The wait estimate of a contact; None when it does not wait."""
        return self._forecasts.of(self._state, contact_id)

    async def _decide_for_ever(self, reader: Reader) -> None:
        while True:
            self.turns += 1
            if self.reign.last_seq - max(self.reign.published_seq, self._begun_at_seq) > UNPUBLISHED_MAX:
                await asyncio.sleep(PUBLISH_AGAIN_S)
                continue
            records = await self._read(reader)
            if records:
                note_read("router", records, reader)
            self._applied = None
            try:
                with applying("router", records):
                    decided = await self._decide(records)
                    await self._commit(decided, records)
            except (Fenced, Retryable, *AWAY):
                raise
            except Exception:
                self.blame = Blame(
                    records=tuple(records),
                    record=records[0] if len(records) == 1 else self._applied,
                    timer=self._state.ringing,
                )
                raise

    async def _read(self, reader: Reader) -> Sequence[Incoming]:
        """What is there, after waiting until something is due at most; one by one after a failure. Nothing when scores came."""
        due_ms = next_due_ms(self._state)
        wait_ms = READ_WAIT_MS
        if due_ms is not None:
            wait_ms = min(wait_ms, max(0, due_ms - self._clock.now_ms()))
        records_max = 1 if self._care.is_careful(self.reign.offsets) else INPUTS_MAX
        if self._reading is None and not self._asking.tasks:
            return await reader.read(wait_ms=wait_ms, records_max=records_max)
        if self._reading is None:
            self._reading = asyncio.create_task(reader.read(wait_ms=wait_ms, records_max=records_max))
        await asyncio.wait(
            {self._reading, *self._asking.tasks}, timeout=wait_ms / 1_000, return_when=asyncio.FIRST_COMPLETED
        )
        if not self._reading.done():
            return ()
        task, self._reading = self._reading, None
        return task.result()

    async def _decide(self, records: Sequence[Incoming]) -> Decided:
        told = await self._with_units_elsewhere(await self._inputs(records))
        self._applied = None
        now_ms = self._clock.now_ms()
        opened: list[Heard] = [(None, changed) for changed in self._hours(now_ms)]
        scored: list[Heard] = [(None, given) for given in self._asking.answers()]
        told = [*opened, *self._with_hours(told, now_ms), *scored]
        decided: Decided = []
        rested_s = monotonic_s()
        for self._applied, one in told or [(None, events.Ticked())]:
            decided.extend((output, now_ms) for output in step(self._state, one, now_ms))
            if monotonic_s() - rested_s > STRETCH_S:
                await asyncio.sleep(0)
                rested_s = monotonic_s()
        self._applied = None
        if self._state.to_score:
            self._asking.begin(self._state)
        try:
            self._forecasts.learn(self._state, decided)
        except Exception as why:  # figures only: nobody's contact waits for them
            metrics.failures.labels(type(why).__name__).inc()
            log.exception("forecast_failed", shard=self.reign.shard)
        return decided

    async def _with_units_elsewhere(self, heard: list[Heard]) -> list[Heard]:
        async with self._statement:
            told = await self._elsewhere.look(self._state, [one for _, one in heard], self._clock.now_ms())
        changed = len(told) - len(heard)
        records = [None] * changed + [record for record, _ in heard]
        return list(zip(records, told, strict=True))

    def _hours(self, now_ms: int) -> list[events.Input]:
        """Queues that opened or closed; looked at once a second, and told first: who comes to a closed queue is not asked for."""
        if now_ms - self._hours_at_ms < HOURS_EVERY_MS:
            return []
        self._hours_at_ms = now_ms
        return [told for queue in self._state.queues.values() for told in self._hours_of(queue, now_ms)]

    def _with_hours(self, told: Sequence[Heard], now_ms: int) -> list[Heard]:
        """Before a queue's new policy whether it is open by it."""
        found: list[Heard] = []
        for record, one in told:
            if isinstance(one, events.QueueSet):
                known = self._state.queues.get(one.queue.queue_id)
                if known is None or known.version < one.queue.version:
                    found += [(record, changed) for changed in self._hours_of(one.queue, now_ms)]
            found.append((record, one))
        return found

    def _hours_of(self, queue: Queue, now_ms: int) -> list[events.Input]:
        is_open = queue.policy.hours is None or opening_hours.is_open(queue.policy.hours, now_ms)
        if self._open.get(queue.queue_id, True) == is_open:
            return []
        self._open[queue.queue_id] = is_open
        return [events.QueueOpened(queue_id=queue.queue_id, is_open=is_open)]

    async def _inputs(self, records: Sequence[Incoming]) -> list[Heard]:
        told: list[Heard] = []
        again = await self._seen_before(records)
        for record in records:
            self._applied = record
            why = record.bad or self._unfit(record)
            if why:
                await self._park(record, why)
                continue
            correlation = record.envelope.correlation_id if record.envelope is not None else ""
            one = None if record.fact is None else input_from(record.fact, correlation=correlation)
            if isinstance(one, events.ContactArrived):
                if one.contact_id in again:
                    continue
                if one.queue_id not in self._state.queues:
                    async with self._statement:
                        queue = await self._ledger.queue(one.queue_id)
                    if queue is None:
                        await self._park(record, f"there is no queue {one.queue_id}")
                        continue
                    told.append((record, events.QueueSet(queue=queue)))
            if one is not None:
                told.append((record, one))
        return told

    def _unfit(self, record: Incoming) -> str:
        """Why a record that can be read must not be applied; empty when it may."""
        if self._care.gives_up(record):
            return f"made the router fail {TRIES_MAX} times; its log says how"
        need = getattr(record.fact, "need", None)
        return "" if need is None or need is ANYBODY else "; ".join(size_faults(need))

    async def _park(self, record: Incoming, why: str) -> None:
        async with self._statement:
            await self._ledger.park(msgspec.structs.replace(record, bad=why))
        self._has_parked = True
        parked.labels("router").inc()
        log.error("record_parked", record=described([record]), why=why)

    async def _seen_before(self, records: Sequence[Incoming]) -> set[str]:
        """Submissions that we took in once and that memory may have forgotten."""
        stale_ms = self._clock.now_ms() - FRESH_MS
        doubtful = [
            record.fact.contact_id
            for record in records
            if isinstance(record.fact, contacts.ContactSubmitted)
            and record.fact.contact_id not in self._state.contacts
            and (self._doubtful or record.fact.accepted_at_ms < stale_ms)
        ]
        if not doubtful:
            return set()
        async with self._statement:
            return await self._ledger.known(doubtful)

    async def _commit(self, decided: Decided, records: Sequence[Incoming]) -> None:
        for record in records:
            place = next(p for p in self.reign.offsets if p.topic == record.topic)
            self.reign.offsets[place] = record.offset + 1
        if not (decided or self._state.touched_agents or self._state.touched_contacts or self._has_parked):
            return
        batch = make_batch(self._state, self.reign, decided, self._units_known)
        started = monotonic_s()
        async with self._statement:
            await self._ledger.commit(self.reign, batch)
            if self._is_caught_up:
                self._pending.extend(batch.log)
        metrics.commit_seconds.observe(monotonic_s() - started)
        metrics.batch_lines.observe(len(batch.log))
        for line in batch.log:
            metrics.decisions.labels(line.type).inc()
        self.has_got_on = True
        if records and not self._has_parked:
            self._care.got_on()
        self._has_parked = False
        self._wake.set()

    async def _publish_for_ever(self) -> None:
        waiting = metrics.unpublished_lines.labels(str(self.reign.shard))
        back_off = BackOff(PUBLISH_AGAIN_S)
        while True:
            if not self._is_caught_up and not self._pending:
                await self._load_unpublished()
            while self._pending:
                waiting.set(self.reign.last_seq - self.reign.published_seq)
                lines = [self._pending[n] for n in range(min(PUBLISH_MAX, len(self._pending)))]
                try:
                    await self._publisher.publish([self._record(line) for line in lines])
                except Retryable as why:
                    log.warning("routing_not_published", shard=self.reign.shard, why=str(why))
                    await back_off.pause()
                    continue
                for _ in lines:
                    self._pending.popleft()
                self.reign.published_seq = lines[-1].seq
            waiting.set(0)
            if self._is_caught_up:
                await self._wake.wait()
                self._wake.clear()

    async def _load_unpublished(self) -> None:
        """The next of the lines that were committed before us, or while we published those; a bounded number at a time."""
        async with self._statement:
            lines = await self._ledger.unpublished(
                self.reign, after_seq=self.reign.published_seq, lines_max=LOADED_TOGETHER
            )
            self._is_caught_up = len(lines) < LOADED_TOGETHER
            self._pending.extend(lines)

    def _record(self, line: LogLine) -> Outgoing:
        envelope = Envelope(
            event_id=f"r-{self.reign.shard}-{line.seq}",
            type=line.type,
            occurred_at_ms=line.at_ms,
            key=line.key,
            producer="router",
            sequence=line.seq,
            epoch=line.epoch,
            correlation_id=line.correlation,
        )
        return Outgoing(
            topic=self._topic,
            partition=self.reign.shard,
            key=line.key,
            headers=to_headers(envelope),
            value=line.body.encode(),
        )
