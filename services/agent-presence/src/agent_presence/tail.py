"""Every replica's own reading of the router's facts, into memory."""

import structlog

from agent_presence.inboxes import Inboxes
from agent_presence.ports import StoredInboxes
from common.runtime import metrics
from common.runtime.back_off import BackOff
from common.runtime.bus import Bus, Incoming, Place
from common.runtime.failures import Retryable, strays_as_trouble
from common.runtime.following import Gaps, Sequences, note_read

log = structlog.get_logger()

READER = "agent-presence-tail"
READ_WAIT_MS = 500
RECORDS_MAX = 500
BACK_OFF_S = 0.3


class Tail:
    """Starts from the stored inboxes, then follows the log."""

    def __init__(self, *, stored: StoredInboxes, bus: Bus, inboxes: Inboxes, topic: str) -> None:
        self._stored = stored
        self._bus = bus
        self._inboxes = inboxes
        self._topic = topic
        self.loaded = False
        self._gaps = Gaps(READER)
        metrics.reader_failures.labels(READER)

    async def run(self) -> None:
        """Follow until cancelled; on trouble of the world go on where we were."""
        back_off = BackOff(BACK_OFF_S)
        while not self.loaded:
            try:
                with strays_as_trouble():
                    items, standings, offsets, sequences = await self._stored.load(self._topic)
                self._inboxes.load(items, standings, sequences.marks)
                self.loaded = True
            except Retryable as why:
                log.warning("inboxes_not_loaded", why=str(why))
                await back_off.pause()
        while True:
            try:
                with strays_as_trouble():
                    await self._follow(offsets, sequences)
            except Retryable as why:
                log.warning("tail_waits", why=str(why))
                await back_off.pause()

    async def _follow(self, offsets: dict[Place, int], sequences: Sequences) -> None:
        reader = await self._bus.reader(offsets, at_once=True)
        try:
            while True:
                records = await reader.read(wait_ms=READ_WAIT_MS, records_max=RECORDS_MAX)
                if records:
                    note_read(READER, records, reader)
                for record in records:
                    why = sequences.refusal(record)
                    if why:
                        self._gaps.refuse(record, why)
                    elif sequences.is_fresh(record):
                        self._gaps.went_on(record)
                        self._fold(record)
                    offsets[Place(topic=record.topic, partition=record.partition)] = record.offset + 1
        finally:
            await reader.close()

    def _fold(self, record: Incoming) -> None:
        """Take the fact in. One that makes us fail is passed over: the follower, which stores inboxes, parks it."""
        try:
            self._inboxes.fold(record)
        except Exception:
            metrics.reader_failures.labels(READER).inc()
            log.exception("fact_not_folded", topic=record.topic, partition=record.partition, offset=record.offset)
