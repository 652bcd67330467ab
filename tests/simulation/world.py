"""All four services, two of each, in one thread and in virtual time; what they do is decided by a seed."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import structlog

from agent_presence.testing import PresenceTables
from common.contracts.topics import CATALOGUE, shard_of
from common.runtime.bus import Incoming, Outgoing, Place, incoming
from common.runtime.failures import Retryable
from common.testing.bus import MemoryBus
from common.testing.database import MemoryServer
from common.testing.loop import PROCESS, Process, SimulatedLoop
from intake.testing import IntakeTables
from reporting.testing import ReportingTables
from router.sharding.ports import Batch, Reign
from router.testing import RouterTables
from tests.simulation.faults import Faults, FaultyLine
from tests.simulation.services import BUILD, Databases, Parts, Wiring

Answer = TypeVar("Answer")
SERVICES = ("intake", "router", "presence", "reporting")
REPLICAS = 2
SESSION_NOTICED_S = 0.4
"""After so long a server ends the sessions of a process that died."""
RESTART_S = (0.3, 4.0)
PAUSES_S = (0.05, 0.5, 2.0, 6.0, 14.0)
CRASH, PAUSE, STEP, AWAY = 1e-4, 1e-4, 5e-5, 0.02


class Unreachable(Exception):
    """The call had no answer: nobody knows whether it had an effect."""


@dataclass(slots=True, kw_only=True)
class Commit:
    """A batch that the router's database took, and up to where its inputs were read before and after it."""

    at_s: float
    shard: int
    epoch: int
    read_before: dict[Place, int]
    read_after: dict[Place, int]
    batch: Batch


@dataclass(slots=True, kw_only=True)
class Stored:
    """A record of the bus, when it came, and the process that published it."""

    at_s: float
    by: str
    record: Incoming


@dataclass(slots=True, kw_only=True)
class Instance:
    """One of two replicas, through all its lives. `host`: the clocks of its machine, which outlive a process."""

    service: str
    name: str
    rate: float
    offset_s: float
    wall_s: float
    process: Process
    wiring: Wiring | None = None
    starts: int = 0


@dataclass(slots=True, kw_only=True)
class Note:
    """A line of the history: when, who, what."""

    at_s: float
    who: str
    what: str
    about: dict[str, Any]

    def __str__(self) -> str:
        about = " ".join(f"{name}={value}" for name, value in self.about.items())
        return f"{self.at_s:10.4f}  {self.who:<14}{self.what:<28}{about}"


@dataclass(slots=True)
class Journal:
    """What clients and agents themselves saw, as dictionaries with `at_s` and `what`."""

    lines: list[dict[str, Any]] = field(default_factory=list)


class ObservedBus(MemoryBus):
    """Keeps when each record came, and from whom."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop
        self.history: list[Stored] = []

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Store and acknowledge."""
        process = PROCESS.get()
        for record in records:
            place = Place(topic=record.topic, partition=record.partition)
            read = incoming(record.topic, record.partition, self.end(place), record.headers, record.value)
            by = "" if process is None else process.name
            self.history.append(Stored(at_s=self._loop.time(), by=by, record=read))
            await super().publish([record])


class World:
    """See the module. `findings`: what a process did that none may ever do, whatever the auditor thinks of the rest."""

    def __init__(self, seed: int, loop: SimulatedLoop, pools: Sequence[str], parts: Parts | None = None) -> None:
        self.loop = loop
        self.random = Random(f"world/{seed}")
        self.faults = Faults(Random(f"faults/{seed}"))
        self.chance = Random(f"chance/{seed}")
        self.parts = parts or Parts()
        self.history: list[Note] = []
        self.findings: list[str] = []
        self.journal = Journal()
        self.commits: list[Commit] = []
        self.bus = ObservedBus(loop)
        self._read: dict[int, dict[Place, int]] = {}
        server = {name: MemoryServer(loop.time) for name in SERVICES}
        shards = sorted({shard_of(pool) for pool in pools})
        self.databases = Databases(
            intake=IntakeTables(server["intake"]),
            router=RouterTables(server["router"], shards=shards, on_commit=self._committed),
            presence=PresenceTables(server["presence"]),
            reporting=ReportingTables(server["reporting"]),
        )
        self.instances = [self._instance(service, number) for service in SERVICES for number in range(1, REPLICAS + 1)]
        self.frozen: Instance | None = None
        self._helpers: dict[asyncio.Task[None], None] = {}
        loop.on_turn = self._on_turn
        loop.set_exception_handler(self._unhandled)
        structlog.configure(processors=[self._logged], cache_logger_on_first_use=False)

    def note(self, who: str, what: str, **about: Any) -> None:
        """A line of the history."""
        self.history.append(Note(at_s=self.loop.time(), who=who, what=what, about=about))

    def wrong(self, text: str) -> None:
        """Something that may never happen."""
        self.note("!", "finding", text=text)
        self.findings.append(f"{self.loop.time():.3f}: {text}")

    def write(self, what: str, **about: Any) -> None:
        """A line of the clients' own journal."""
        self.journal.lines.append({"what": what, "at_s": self.loop.time(), **about})
        self.note("client", what, **about)

    async def start(self) -> None:
        """Start everything."""
        for instance in self.instances:
            self._boot(instance)
        await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """End everything."""
        for task in list(self._helpers):
            task.cancel()
        for instance in self.instances:
            self.loop.kill(instance.process)
        for instance in self.instances:
            await self.loop.clear(instance.process)

    async def call(
        self, service: str, work: Callable[[Any], Awaitable[Answer]], *, timeout_s: float = 10.0, to: int | None = None
    ) -> Answer:
        """Ask one of the replicas, as a client behind a load balancer does. Raises `Unreachable`."""
        replicas = [one for one in self.instances if one.service == service and one is not self.frozen]
        instance = self.random.choice(replicas) if to is None else replicas[to]
        await asyncio.sleep(self.faults.latency_s())
        wiring = instance.wiring
        if wiring is None or not instance.process.is_alive or self.faults.happens("http: request lost", 0.005):
            raise Unreachable(f"{instance.name} is not there")
        task = self.loop.spawn(instance.process, _asked(work, wiring.face))
        await asyncio.wait({task}, timeout=timeout_s)
        await asyncio.sleep(self.faults.latency_s())
        if not task.done() or task.cancelled() or not instance.process.is_alive:
            task.cancel()
            raise Unreachable(f"{instance.name} did not answer")
        why = task.exception()
        if isinstance(why, Retryable):
            raise Unreachable(f"{instance.name}: {why}")
        if why is not None:
            self.wrong(f"{instance.name} answered 500: {why!r}")
            raise Unreachable(f"{instance.name}: {why!r}")
        if self.faults.happens("http: answer lost", 0.005):
            raise Unreachable(f"{instance.name}: the answer was lost")
        return task.result()

    async def trouble_for(self, seconds: float) -> None:
        """Faults of every kind, for so long."""
        self.faults.on = True
        end_s = self.loop.time() + seconds
        while self.loop.time() < end_s:
            await asyncio.sleep(1.0)
            if self.chance.random() < AWAY:
                server = self.chance.choice(["kafka", *SERVICES])
                until_s = self.loop.time() + self.chance.choice([0.3, 2.0, 8.0])
                self.faults.away_until_s[server] = until_s
                self.note("fault", "server away", server=server, until_s=round(until_s, 3))
        self.faults.on = False
        self.faults.away_until_s.clear()
        self.note("fault", "no more faults")

    def freeze_one(self) -> None:
        """One process stands still for ever; whoever watches over it has noticed, and sends no more requests to it."""
        self.frozen = self.chance.choice(self.instances)
        self.note(self.frozen.name, "is frozen")
        self.faults.counts["frozen for ever"] += 1
        self.loop.pause(self.frozen.process, 1e6)

    def _instance(self, service: str, number: int) -> Instance:
        name = f"{service}-{number}"
        return Instance(
            service=service,
            name=name,
            rate=1.0 + self.random.uniform(-0.003, 0.003),
            offset_s=self.random.uniform(0.0, 100_000.0),
            wall_s=self.random.uniform(-0.4, 0.4),
            process=Process(name),
        )

    def _boot(self, instance: Instance) -> None:
        process = instance.process = Process(
            instance.name, rate=instance.rate, offset_s=instance.offset_s, wall_s=instance.wall_s
        )
        instance.starts += 1
        self.note(instance.name, "starts", life=instance.starts)
        self.loop.spawn(process, self._live(instance, process))

    async def _live(self, instance: Instance, process: Process) -> None:
        wiring = Wiring(
            process=process,
            line=FaultyLine(process, instance.service, self.faults),
            bus=self.bus,
            kafka=FaultyLine(process, "kafka", self.faults),
            databases=self.databases,
            parts=self.parts,
        )
        BUILD[instance.service](wiring)
        instance.wiring = wiring
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in wiring.background:
                    tasks.create_task(work())
        except* Exception as why:
            if process.is_alive:
                self.wrong(f"{instance.name} ended by itself: {why.exceptions!r}")
                self.loop.call_soon(self._crash, instance, context=_outside())

    def _on_turn(self, process: Process) -> None:
        if not self.faults.on:
            return
        draw = self.chance.random()
        if draw >= CRASH + PAUSE + STEP:
            return
        instance = next(one for one in self.instances if one.process is process)
        if draw < CRASH:
            self.faults.counts["crash"] += 1
            self._crash(instance)
        elif draw < CRASH + PAUSE:
            seconds = self.chance.choice(PAUSES_S) * self.chance.uniform(0.5, 1.5)
            self.faults.counts["pause"] += 1
            self.note(instance.name, "is paused", seconds=round(seconds, 3))
            self.loop.pause(process, seconds)
        else:
            self.faults.counts["clock step"] += 1
            instance.wall_s = process.wall_s = self.chance.uniform(-2.0, 2.0)
            self.note(instance.name, "clock is set", wall_s=round(instance.wall_s, 3))

    def _crash(self, instance: Instance) -> None:
        self.note(instance.name, "crashes")
        line = None if instance.wiring is None else instance.wiring.line
        instance.wiring = None
        self.loop.kill(instance.process)
        helper = self.loop.create_task(self._come_back(instance, line), context=_outside())
        self._helpers[helper] = None
        helper.add_done_callback(self._helpers.pop)

    async def _come_back(self, instance: Instance, line: FaultyLine | None) -> None:
        await self.loop.clear(instance.process)
        await asyncio.sleep(SESSION_NOTICED_S)
        if line is not None:
            getattr(self.databases, instance.service).server.end_sessions(line)
        await asyncio.sleep(self.chance.uniform(*RESTART_S))
        self._boot(instance)

    def _committed(self, reign: Reign, batch: Batch) -> None:
        after = dict(reign.offsets)
        before = self._read.get(reign.shard, dict.fromkeys(after, 0))
        self._read[reign.shard] = after
        self.commits.append(
            Commit(
                at_s=self.loop.time(),
                shard=reign.shard,
                epoch=reign.epoch,
                read_before=before,
                read_after=after,
                batch=batch,
            )
        )

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        why = context.get("exception")
        if not isinstance(why, asyncio.CancelledError):
            self.wrong(f"nobody saw an error: {context.get('message')}: {why!r}")

    def _logged(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        process = PROCESS.get()
        what = event.pop("event")
        event.pop("exc_info", None)
        if method != "debug":
            self.note("?" if process is None else process.name, what, **event)
        if method in ("error", "exception", "critical"):
            self.wrong(f"{what}: {event}")
        raise structlog.DropEvent


def _outside() -> Context:
    """The context of nobody's process."""
    context = Context()
    context.run(PROCESS.set, None)
    return context


async def _asked(work: Callable[[Any], Awaitable[Answer]], face: Any) -> Answer:
    return await work(face)


TOPICS = tuple(topic.name for topic in CATALOGUE)
