"""`porchlight bench`: latency against a floor measured in the same run, whole lives a second, router takeover."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from common.contracts.topics import shard_of
from porchlight.clients.apply import apply, wait_until_known
from porchlight.clients.http import Clients, Desktop, Integration, Refused
from porchlight.installation import Home, Running
from porchlight.local.processes import Pids
from porchlight.replay.player import percentiles

POOL, QUEUE, SKILL = "bench", "bench", "bench"
AGENTS = 24
RATE = 50
ROUNDS = 5
ROUND_S = 4.0
FLOOR_BYTES = b"x" * 400
TAKEOVER_TIMEOUT_S = 20.0
BALANCED_TIMEOUT_S = 30.0
FINISH_MAX_S = 30.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Crew:
    """Agents who accept at once and complete at once; what they saw, in milliseconds."""

    posted: dict[str, float] = field(default_factory=dict)
    offered: dict[str, float] = field(default_factory=dict)
    completed: dict[str, float] = field(default_factory=dict)

    async def work(self, desktop: Desktop) -> None:
        """Until cancelled."""
        await desktop.sign_in()
        while True:
            try:
                inbox = await desktop.inbox()
                for offer in (inbox or {}).get("offers", []):
                    self.offered.setdefault(offer["contact_id"], time.perf_counter())
                    await desktop.accept(offer)
                    await self._complete(desktop, offer)
                for contact in (inbox or {}).get("contacts", []):
                    if contact["state"] == "assigned":  # left from before the line was lost
                        await self._complete(desktop, contact)
                if inbox is not None and inbox["routing_state"] == "not_responding":
                    await desktop.set_presence("available")
            except Refused as why:
                if why.kind == "session-over":
                    await desktop.sign_in()

    async def _complete(self, desktop: Desktop, contact: dict[str, Any]) -> None:
        await desktop.complete(contact)
        self.completed[contact["contact_id"]] = time.perf_counter()

    async def finish(self) -> None:
        """Wait, within a bound, until everything that was posted is completed."""
        deadline = time.perf_counter() + FINISH_MAX_S
        while set(self.posted) - set(self.completed) and time.perf_counter() < deadline:
            await asyncio.sleep(0.05)

    async def post(self, integration: Integration) -> None:
        """One contact."""
        began = time.perf_counter()
        accepted = await integration.post({"queue": QUEUE, "channel": "voice"})
        self.posted[accepted["id"]] = began


async def prepare(clients: Clients, *, agents: int = AGENTS) -> Integration:
    """Queue, skill and agents of the benchmark; returns the integration that posts."""
    await apply(
        clients.administrator(),
        {
            "skills": [SKILL],
            "queues": {QUEUE: {"pool": POOL, "requirements": [{"skill": SKILL}]}},
            "agents": {f"bench-{n}": {"pool": POOL, "skills": {SKILL: 50}} for n in range(agents)},
        },
    )
    integration = clients.integration()
    warm = await wait_until_known(integration, {"queue": QUEUE, "channel": "voice"})
    await integration.cancel(warm["id"], "withdrawn")
    return integration


async def latency(clients: Clients, running: Running, say: Say) -> dict[str, Any]:
    """POST to offer seen by a long-polling agent at 50 contacts a second, interleaved with its floor.

    The floor: two PostgreSQL commits and two Kafka hops by bare asyncpg and aiokafka, one after the other.
    """
    integration = await prepare(clients)
    floor_of, close_floor = await _floor(running)
    crew = Crew()
    workers = [asyncio.create_task(crew.work(clients.desktop(f"bench-{n}"))) for n in range(AGENTS)]
    await asyncio.sleep(1.5)
    floors: list[float] = []
    subjects: list[float] = []
    rounds = []
    for number in range(ROUNDS + 1):
        floor = await at_rate(floor_of, RATE / 2, ROUND_S / 2)
        before = set(crew.posted)
        await at_rate(lambda: crew.post(integration), RATE, ROUND_S)
        await asyncio.sleep(0.5)
        seen = [
            (crew.offered[one] - crew.posted[one]) * 1000 for one in set(crew.posted) - before if one in crew.offered
        ]
        if number == 0:
            continue  # the first round warms everything up
        floors += floor
        subjects += seen
        f, s = percentiles(floor), percentiles(seen)
        rounds.append({"floor_ms": f, "subject_ms": s})
        say(
            f"round {number}: floor {f['p50']:.1f} / {f['p99']:.1f} ms, POST to offer {s['p50']:.1f} / {s['p99']:.1f} ms"
        )
    await crew.finish()
    await stop(workers)
    await close_floor()
    below, above = percentiles(floors), percentiles(subjects)
    ratios = {name: (above[name] or 0) / (below[name] or 1) for name in ("p50", "p99")}
    best = {
        name: min((one["subject_ms"][name] or 0) / (one["floor_ms"][name] or 1) for one in rounds)
        for name in ("p50", "p99")
    }
    say(f"ratio to the floor: p50 {ratios['p50']:.2f} (best round {best['p50']:.2f}), p99 {ratios['p99']:.2f}")
    return {
        "rate": RATE,
        "contacts": len(subjects),
        "floor_ms": below,
        "subject_ms": above,
        "ratio": ratios,
        "best_ratio": best,
        "rounds": rounds,
    }


async def throughput(clients: Clients, say: Say, *, seconds: float = 20.0, agents: int = 60) -> dict[str, Any]:
    """Whole lives (POST to completed) a second, posting as fast as they are completed."""
    integrations = [await prepare(clients, agents=agents)] + [clients.integration() for _ in range(7)]
    crew = Crew()
    workers = [asyncio.create_task(crew.work(clients.desktop(f"bench-{n}"))) for n in range(agents)]
    await asyncio.sleep(1.5)

    async def poster(integration: Integration) -> None:
        while True:
            if len(crew.posted) - len(crew.completed) > 2 * agents:
                await asyncio.sleep(0.005)
                continue
            await crew.post(integration)

    posters = [asyncio.create_task(poster(one)) for one in integrations]
    await asyncio.sleep(3)
    cpu, done, began = os.times(), len(crew.completed), time.perf_counter()
    await asyncio.sleep(seconds)
    lives = (len(crew.completed) - done) / (time.perf_counter() - began)
    own = os.times()
    mine = (own.user + own.system - cpu.user - cpu.system) / seconds
    await stop(posters)
    await crew.finish()
    await stop(workers)
    say(f"{lives:.0f} whole lives a second on {os.cpu_count()} cores, the load itself used {mine:.2f} of a core")
    return {"lives_per_s": lives, "cores": os.cpu_count(), "load_cores": mine, "agents": agents, "seconds": seconds}


async def takeover(clients: Clients, home: Home, running: Running, say: Say, *, times: int = 20) -> dict[str, Any]:
    """From the owner's kill -9, and from its SIGSTOP, to the first commit of the next reign."""
    integration = await prepare(clients)
    crew = Crew()
    workers = [asyncio.create_task(crew.work(clients.desktop(f"bench-{n}"))) for n in range(6)]
    load = asyncio.create_task(endless(lambda: crew.post(integration), 30))
    connection = await asyncpg.connect(running.dsns["router"])
    found: dict[str, list[float]] = {"kill": [], "stop": []}
    zombies = 0
    try:
        for number in range(2 * times):
            how = "kill" if number % 2 == 0 else "stop"
            await balanced(connection)
            took, zombie = await _one_takeover(home, connection, how)
            zombies += zombie
            found[how].append(took)
            if number % 10 == 9:
                say(f"{number + 1} of {2 * times} takeovers")
    finally:
        await stop([load])
        await crew.finish()
        await stop(workers)
        await connection.close()
    result = {
        name: {**percentiles(values), "max": max(values), "values": sorted(values)} for name, values in found.items()
    }
    say(
        f"takeover after kill -9: p50 {result['kill']['p50']:.2f} s, max {result['kill']['max']:.2f} s;"
        f" after SIGSTOP: p50 {result['stop']['p50']:.2f} s, max {result['stop']['max']:.2f} s; zombie writes {zombies}"
    )
    return {**result, "times": times, "zombie_writes": zombies}


async def balanced(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Wait until two live instances share the shards, and nothing has moved for a second: then one stands by."""
    calm_since, last = time.perf_counter(), ""
    deadline = time.perf_counter() + BALANCED_TIMEOUT_S
    while time.perf_counter() < deadline:
        now = await connection.fetchval("SELECT string_agg(owner || epoch, ',' ORDER BY shard) FROM shard_lease")
        owners = await connection.fetch("SELECT owner, count(*) AS shards FROM shard_lease GROUP BY owner")
        even = len(owners) > 1 and max(row["shards"] for row in owners) - min(row["shards"] for row in owners) <= 1
        if now != last or not even:
            calm_since, last = time.perf_counter(), now
        if time.perf_counter() - calm_since > 1.0:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the routers do not share the shards: is there a second one?")


async def owner_pid(home: Home, connection: "asyncpg.Connection[asyncpg.Record]", shard: int) -> int:
    """The process of the router that owns the shard."""
    owner = await connection.fetchval("SELECT owner FROM shard_lease WHERE shard = $1", shard)
    return next(k.pid for k in Pids(home).alive() if k.name == f"router-{owner.partition('/')[0]}")


async def _one_takeover(home: Home, connection: "asyncpg.Connection[asyncpg.Record]", how: str) -> tuple[float, int]:
    shard = shard_of(POOL)
    epoch = await connection.fetchval("SELECT epoch FROM shard_lease WHERE shard = $1", shard)
    pid = await owner_pid(home, connection, shard)
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL if how == "kill" else signal.SIGSTOP)
    try:
        while time.perf_counter() - began < TAKEOVER_TIMEOUT_S:
            if await connection.fetchval(
                "SELECT 1 FROM routing_log WHERE shard = $1 AND epoch > $2 LIMIT 1", shard, epoch
            ):
                break
            await asyncio.sleep(0.01)
        took = time.perf_counter() - began
    finally:
        if how == "stop":
            os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(0.5)
    zombie = await connection.fetchval(
        "SELECT count(*) FROM routing_log l WHERE shard = $1 AND epoch = $2 AND seq >"
        " (SELECT min(seq) FROM routing_log WHERE shard = $1 AND epoch > $2)",
        shard,
        epoch,
    )
    return took, int(zombie)


async def _floor(running: Running) -> tuple[Callable[[], Awaitable[float]], Callable[[], Awaitable[None]]]:
    names = [f"floor-{os.getpid()}-{n}" for n in (1, 2)]
    admin = AIOKafkaAdminClient(**running.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1) for name in names])
    await admin.close()
    connection = await asyncpg.connect(running.dsns["admin"])
    await connection.execute("CREATE TABLE IF NOT EXISTS floor_rows (id bigserial PRIMARY KEY, value bytea)")
    producer = AIOKafkaProducer(**running.kafka, acks="all", enable_idempotence=True)
    await producer.start()
    consumers = {}
    for name in names:
        consumer = AIOKafkaConsumer(**running.kafka, group_id=None)
        await consumer.start()
        consumer.assign([TopicPartition(name, 0)])
        consumer.seek(TopicPartition(name, 0), 0)
        consumers[name] = consumer

    async def once() -> float:
        began = time.perf_counter()
        for name in names:
            await connection.execute("INSERT INTO floor_rows (value) VALUES ($1)", FLOOR_BYTES)
            await producer.send(name, FLOOR_BYTES, partition=0)
            await consumers[name].getone()
        return (time.perf_counter() - began) * 1000

    async def close() -> None:
        await producer.stop()
        for consumer in consumers.values():
            await consumer.stop()
        await connection.close()

    return once, close


async def at_rate(work: Callable[[], Awaitable[Any]], rate: float, seconds: float) -> list[Any]:
    """Start `work` at fixed moments, whatever became of the ones before (an open loop)."""
    began = time.perf_counter()
    lock = asyncio.Lock()
    tasks = []

    async def one() -> Any:
        if work.__name__ == "once":  # the floor's connection serves one at a time
            async with lock:
                return await work()
        return await work()

    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one()))
    return list(await asyncio.gather(*tasks))


async def endless(work: Callable[[], Awaitable[Any]], rate: float) -> None:
    """One after the other, at most so many a second, until cancelled."""
    while True:
        await work()
        await asyncio.sleep(1 / rate)


async def stop(tasks: list["asyncio.Task[None]"]) -> None:
    """Cancel, and wait for the end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
