"""One reign over one shard: read, decide in memory, commit in one statement, then publish."""

import asyncio
import gc
from collections import deque
from collections.abc import Mapping, Sequence

import structlog

from common.contracts import contacts
from common.contracts.envelope import Envelope, to_headers
from common.contracts.topics import ROUTING
from common.runtime.bus import Bus, Incoming, Outgoing, Publisher, Reader
from common.runtime.clock import Clock, monotonic_s
from common.runtime.failures import Retryable
from common.runtime.following import note_read
from common.runtime.metrics import parked
from common.runtime.tracing import applying
from router import hours, metrics
from router.batch import Decided, make_batch
from router.core import State, inputs, step
from router.core.invariants import check
from router.core.state import next_due_ms
from router.core.values import Contact, Queue
from router.elsewhere import Elsewhere
from router.forecasts import Forecasts, Told
from router.ports import Ledger, LogLine, Reign
from router.scoring import Scorer, ask_scorer
from router.translate import input_from

log = structlog.get_logger()

INPUTS_MAX = 64
"""Inputs of one batch. More wait in the reader's buffer for the next one."""
READ_WAIT_MS = 250
HOURS_EVERY_MS = 1_000
UNPUBLISHED_MAX = 20_000
"""Committed lines that may wait for Kafka; beyond it the shard reads no more inputs until some are through."""
PUBLISH_MAX = 200
PUBLISH_BACK_OFF_S = 0.3
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
    ) -> None:
        """`doubtful`: memory was wrong in the last reign, so every submission is looked up.

        `turns` grows as long as the reign gets on, contacts or not.
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
        self._scorers = scorers or {}
        self.is_ready = False
        self.turns = 0
        self._doubtful = doubtful

    async def run(self) -> None:
        """Reign. Raises `Fenced`, `Diverged` or `Retryable`: then memory is worth nothing any more."""
        self._state = await self._ledger.rebuild(now_ms=self._clock.now_ms())
        check(self._state)
        gc.freeze()  # it lives as long as the reign: looking through it for cycles again and again would be in vain
        self.is_ready = True
        self.turns += 1
        reader = await self._bus.reader(self.reign.offsets, at_once=True)
        try:
            self.turns += 1
            await self._catch_up()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._publish_for_ever())
                tasks.create_task(self._decide_for_ever(reader))
        finally:
            self.is_ready = False
            await reader.close()

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

    async def _catch_up(self) -> None:
        after = self.reign.published_seq
        while lines := await self._ledger.unpublished(self.reign, after_seq=after, lines_max=1_000):
            self._pending.extend(lines)
            after = lines[-1].seq
            self.turns += 1
        self._wake.set()

    async def _decide_for_ever(self, reader: Reader) -> None:
        while True:
            self.turns += 1
            if len(self._pending) > UNPUBLISHED_MAX:
                await asyncio.sleep(PUBLISH_BACK_OFF_S)
                continue
            due_ms = next_due_ms(self._state)
            wait_ms = READ_WAIT_MS
            if due_ms is not None:
                wait_ms = min(wait_ms, max(0, due_ms - self._clock.now_ms()))
            records = await reader.read(wait_ms=wait_ms, records_max=INPUTS_MAX)
            if records:
                note_read("router", records, reader)
            with applying("router", records):
                decided = await self._decide(records)
                await self._commit(decided, records)

    async def _decide(self, records: Sequence[Incoming]) -> Decided:
        told = await self._elsewhere.look(self._state, await self._inputs(records), self._clock.now_ms())
        now_ms = self._clock.now_ms()
        decided: Decided = []
        told = [*self._hours(now_ms), *self._with_hours(told, now_ms)]
        for one in told or [inputs.Ticked()]:
            decided.extend((output, now_ms) for output in step(self._state, one, now_ms))
        if self._state.to_score:
            decided.extend(await self._score())
        self._forecasts.learn(self._state, decided)
        return decided

    def _hours(self, now_ms: int) -> list[inputs.Input]:
        """Queues that opened or closed; looked at once a second, and told first: who comes to a closed queue is not asked for."""
        if now_ms - self._hours_at_ms < HOURS_EVERY_MS:
            return []
        self._hours_at_ms = now_ms
        return [told for queue in self._state.queues.values() for told in self._hours_of(queue, now_ms)]

    def _with_hours(self, told: Sequence[inputs.Input], now_ms: int) -> list[inputs.Input]:
        """Before a queue's new policy whether it is open by it."""
        found: list[inputs.Input] = []
        for one in told:
            if isinstance(one, inputs.QueueSet):
                known = self._state.queues.get(one.queue.queue_id)
                if known is None or known.version < one.queue.version:
                    found += self._hours_of(one.queue, now_ms)
            found.append(one)
        return found

    def _hours_of(self, queue: Queue, now_ms: int) -> list[inputs.Input]:
        is_open = queue.policy.hours is None or hours.is_open(queue.policy.hours, now_ms)
        if self._open.get(queue.queue_id, True) == is_open:
            return []
        self._open[queue.queue_id] = is_open
        return [inputs.QueueOpened(queue_id=queue.queue_id, is_open=is_open)]

    async def _score(self) -> Decided:
        """Ask the scorers, each within its budget; who is late or fails is not waited for."""
        decided: Decided = []
        asked = list(self._state.to_score)
        answers = await asyncio.gather(*(ask_scorer(self._state, one, self._scorers) for one in asked))
        for contact_id, given in zip(asked, answers, strict=True):
            now_ms = self._clock.now_ms()
            if given is not None:
                decided.extend((output, now_ms) for output in step(self._state, given, now_ms))
            else:
                metrics.scorer_late.inc()
                self._state.to_score.pop(contact_id, None)
        return decided

    async def _inputs(self, records: Sequence[Incoming]) -> list[inputs.Input]:
        told: list[inputs.Input] = []
        again = await self._seen_before(records)
        for record in records:
            if record.bad:
                await self._ledger.park(record)
                parked.labels("router").inc()
                log.error("record_parked", topic=record.topic, offset=record.offset, why=record.bad)
                continue
            correlation = record.envelope.correlation_id if record.envelope is not None else ""
            one = None if record.fact is None else input_from(record.fact, correlation=correlation)
            if isinstance(one, inputs.ContactArrived):
                if one.contact_id in again:
                    continue
                if one.queue_id not in self._state.queues:
                    queue = await self._ledger.queue(one.queue_id)
                    if queue is None:
                        await self._ledger.park(_with_reason(record, f"there is no queue {one.queue_id}"))
                        parked.labels("router").inc()
                        log.error("record_parked", topic=record.topic, offset=record.offset, why="no queue")
                        continue
                    told.append(inputs.QueueSet(queue=queue))
            if one is not None:
                told.append(one)
        return told

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
        return await self._ledger.known(doubtful) if doubtful else set()

    async def _commit(self, decided: Decided, records: Sequence[Incoming]) -> None:
        for record in records:
            place = next(p for p in self.reign.offsets if p.topic == record.topic)
            self.reign.offsets[place] = record.offset + 1
        if not (decided or self._state.touched_agents or self._state.touched_contacts):
            return
        batch = make_batch(self._state, self.reign, decided, self._units_known)
        started = monotonic_s()
        await self._ledger.commit(self.reign, batch)
        metrics.commit_seconds.observe(monotonic_s() - started)
        metrics.batch_lines.observe(len(batch.log))
        for line in batch.log:
            metrics.decisions.labels(line.type).inc()
        self._pending.extend(batch.log)
        self._wake.set()

    async def _publish_for_ever(self) -> None:
        waiting = metrics.unpublished_lines.labels(str(self.reign.shard))
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                waiting.set(len(self._pending))
                lines = [self._pending[n] for n in range(min(PUBLISH_MAX, len(self._pending)))]
                try:
                    await self._publisher.publish([self._record(line) for line in lines])
                except Retryable as why:
                    log.warning("routing_not_published", shard=self.reign.shard, why=str(why))
                    await asyncio.sleep(PUBLISH_BACK_OFF_S)
                    continue
                for _ in lines:
                    self._pending.popleft()
                self.reign.published_seq = lines[-1].seq
            waiting.set(0)

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


def _with_reason(record: Incoming, reason: str) -> Incoming:
    return Incoming(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        headers=record.headers,
        value=record.value,
        bad=reason,
    )
