"""What goes wrong on the way between a process and a server, drawn from the seed and counted by kind."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random

from common.runtime.bus import Incoming, Outgoing, Place
from common.runtime.failures import Retryable
from common.testing.bus import MemoryBus, MemoryReader
from common.testing.loop import Process


class Faults:
    """How much goes wrong now. `away_until_s`: servers that nobody reaches, by name."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.on = False
        self.counts: Counter[str] = Counter()
        self.lost_before = 0.004
        self.lost_after = 0.004
        self.slow = 0.02
        self.doubled = 0.02
        self.away_until_s: dict[str, float] = {}

    def happens(self, kind: str, chance: float) -> bool:
        """Whether it happens this time."""
        if not self.on or self.random.random() >= chance:
            return False
        self.counts[kind] += 1
        return True

    def latency_s(self) -> float:
        """Of one way."""
        if self.happens("slow call", self.slow):
            return self.random.uniform(0.05, 1.0)
        return self.random.uniform(0.0002, 0.003)


class FaultyLine:
    """See `common.testing.faults.Line`: from `process` to the server of that name."""

    def __init__(self, process: Process, server: str, faults: Faults) -> None:
        self._process, self._server, self._faults = process, server, faults

    async def before(self, what: str) -> None:
        """The call is on its way."""
        await self._wait()
        if self._faults.happens(f"{self._server}: call lost", self._faults.lost_before):
            raise Retryable(f"{what}: lost on the way")

    async def after(self, what: str) -> None:
        """The answer is on its way."""
        await self._wait()
        if self._faults.happens(f"{self._server}: answer lost", self._faults.lost_after):
            raise Retryable(f"{what}: the answer was lost")

    def doubled(self) -> bool:
        """Whether a whole batch is stored twice."""
        return self._faults.happens("kafka: batch stored twice", self._faults.doubled)

    def half(self) -> bool:
        """Whether only the first part of a batch is stored."""
        return self._faults.happens("kafka: batch half stored", self._faults.doubled)

    def some(self, records_max: int) -> int:
        """How many records come at a time."""
        return self._faults.random.randint(1, records_max)

    async def _wait(self) -> None:
        if not self._process.is_alive:
            raise asyncio.CancelledError
        await asyncio.sleep(self._faults.latency_s())
        if not self._process.is_alive:
            raise asyncio.CancelledError
        if asyncio.get_running_loop().time() < self._faults.away_until_s.get(self._server, 0.0):
            self._faults.counts[f"{self._server} away"] += 1
            raise Retryable(f"{self._server} is away")


class FaultyBus:
    """Publisher and bus of one process: loses calls and answers, stores batches twice or in part, hands out in any order."""

    def __init__(self, bus: MemoryBus, line: FaultyLine) -> None:
        self._bus, self._line = bus, line

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """See `common.runtime.bus.Publisher`."""
        await self._line.before("publish")
        if self._line.half():
            await self._bus.publish(records[: len(records) // 2])
            raise Retryable("publish: not every record was acknowledged")
        await self._bus.publish(records)
        if self._line.doubled():
            await self._bus.publish(records)
        await self._line.after("publish")

    async def reader(self, offsets: dict[Place, int], *, at_once: bool) -> "FaultyReader":
        """See `common.runtime.bus.Bus`."""
        await self._line.before("open reader")
        return FaultyReader(await self._bus.reader(offsets, at_once=at_once), self._line)

    async def ends(self, places: Sequence[Place]) -> dict[Place, int]:
        """See `common.runtime.bus.Bus`."""
        await self._line.before("ends")
        return await self._bus.ends(places)


class FaultyReader:
    """See `common.runtime.bus.Reader`."""

    def __init__(self, reader: MemoryReader, line: FaultyLine) -> None:
        self._reader, self._line = reader, line

    async def read(self, *, wait_ms: int, records_max: int) -> list[Incoming]:
        """In pieces of any size."""
        found = await self._reader.read(wait_ms=wait_ms, records_max=self._line.some(records_max))
        await self._line.before("read")
        return found

    def lag(self) -> dict[str, int]:
        """See `common.runtime.bus.Reader`."""
        return self._reader.lag()

    async def close(self) -> None:
        """Nothing to let go of."""
