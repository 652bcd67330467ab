"""A bus in memory that redelivers, and interleaves partitions, as Kafka may."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from random import Random

from common.runtime.bus import Incoming, Outgoing, Place, incoming
from common.runtime.failures import Retryable


class MemoryBus:
    """Publisher and bus in one. Order holds inside a place only.

    With a seed it is unkind: an acknowledged publish may be stored twice, reads come in chunks of any size and in any
    order of places. `away` makes every call fail, after some of the records were stored.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = None if seed is None else Random(seed)  # noqa: S311 -- a seeded double
        self._records: dict[Place, list[Outgoing]] = defaultdict(list)
        self._arrived = asyncio.Event()
        self.away = False

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Store and acknowledge, or fail half way when the bus is away."""
        if self.away:
            for record in records[: len(records) // 2]:
                self._store(record)
            raise Retryable("the bus is away")
        for record in records:
            self._store(record)
        if self._random is not None and self._random.random() < 0.2:
            for record in records:
                self._store(record)  # a producer that repeated a whole batch

    async def reader(self, offsets: dict[Place, int], *, at_once: bool) -> "MemoryReader":
        """A reader of the places, each from its offset."""
        del at_once
        return MemoryReader(self, offsets)

    async def ends(self, places: Sequence[Place]) -> dict[Place, int]:
        """The next offset of each place."""
        return {place: self.end(place) for place in places}

    def end(self, place: Place) -> int:
        """The next offset of the place."""
        return len(self._records[place])

    def stored(self, topic: str) -> list[Incoming]:
        """Everything in a topic, by partition and offset."""
        places = sorted((p for p in self._records if p.topic == topic), key=lambda p: p.partition)
        return [_read(self._records[place][at], at) for place in places for at in range(len(self._records[place]))]

    def take(self, offsets: dict[Place, int], records_max: int) -> list[Incoming]:
        """What a reader gets next; its offsets move on."""
        if self.away:
            raise Retryable("the bus is away")
        places = sorted(offsets, key=lambda place: (place.topic, place.partition))
        if self._random is not None:
            self._random.shuffle(places)
            records_max = self._random.randint(1, records_max)
        found: list[Incoming] = []
        for place in places:
            while offsets[place] < len(self._records[place]) and len(found) < records_max:
                found.append(_read(self._records[place][offsets[place]], offsets[place]))
                offsets[place] += 1
        return found

    async def wait(self, seconds: float) -> None:
        """Return when something was stored, or after `seconds`."""
        self._arrived.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return

    def _store(self, record: Outgoing) -> None:
        self._records[Place(topic=record.topic, partition=record.partition)].append(record)
        self._arrived.set()


class MemoryReader:
    """See `common.runtime.bus.Reader`."""

    def __init__(self, bus: MemoryBus, offsets: dict[Place, int]) -> None:
        self._bus = bus
        self._offsets = dict(offsets)

    async def read(self, *, wait_ms: int, records_max: int) -> list[Incoming]:
        """What is there, after waiting at most `wait_ms` for the first record."""
        found = self._bus.take(self._offsets, records_max)
        if not found and wait_ms > 0:
            await self._bus.wait(wait_ms / 1000)
            found = self._bus.take(self._offsets, records_max)
        return found

    def lag(self) -> dict[str, int]:
        """By topic, how many records were not read yet."""
        left = dict.fromkeys((place.topic for place in self._offsets), 0)
        for place, at in self._offsets.items():
            left[place.topic] += self._bus.end(place) - at
        return left

    async def close(self) -> None:
        """Nothing to let go of."""


def _read(record: Outgoing, offset: int) -> Incoming:
    return incoming(record.topic, record.partition, offset, record.headers, record.value)
