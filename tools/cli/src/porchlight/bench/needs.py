"""`porchlight bench needs`: a router is killed while very many contacts wait in one pool who all need something else."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg

from common.contracts.contacts import ContactSubmitted
from common.contracts.policies import Need
from common.contracts.topics import SHARDS, shard_of
from common.runtime.clock import SystemClock, new_id
from porchlight.bench.backlog import write
from porchlight.bench.whole_platform import Crew, balanced, endless, owner_pid, stop
from porchlight.clients.apply import apply, wait_until_known
from porchlight.clients.http import Clients
from porchlight.installation import Home, Running, Trouble
from porchlight.replay.player import percentiles

POOL = "needs"
FILLED_TIMEOUT_S = 300.0
TAKEOVER_TIMEOUT_S = 120.0
PROBE_RATE, COMING_RATE = 20, 4
CALM_S = 10.0
AFTER_S = 10.0

Say = Callable[[str], None]


async def needs(
    clients: Clients, home: Home, running: Running, say: Say, *, contacts: int, times: int
) -> dict[str, Any]:
    """Kill the owner of that pool's shard so often; seconds to the next reign's first commit, and what another pool felt.

    The other pool's shard belongs to the router that lives; its POST to offer is measured at 20 a second, before and around
    each kill. Contacts are written to Kafka past intake, so the history of this run is not checked.
    """
    await apply(clients.administrator(), {"queues": {POOL: {"pool": POOL}}})
    first = await wait_until_known(clients.integration(), {"queue": POOL, "channel": "email"})
    await clients.integration().cancel(first["id"], "withdrawn")
    connection = await asyncpg.connect(running.owner_dsns["router"])
    try:
        began = time.perf_counter()
        await write(running, _backlog(contacts))
        await _until_they_wait(connection, contacts)
        say(f"{contacts} contacts with as many needs wait after {time.perf_counter() - began:.0f} s")
        rounds = []
        for number in range(times):
            await balanced(connection)
            rounds.append(await _one(clients, home, connection, f"probe-{number}"))
            one = rounds[-1]
            say(
                f"takeover {one['took_s']:.2f} s; the other pool before {one['before_ms']['p50']:.1f} / {one['before_ms']['max']:.1f}"
                f" ms (p50 / longest), around the kill {one['around_ms']['p50']:.1f} / {one['around_ms']['max']:.1f} ms"
            )
    finally:
        await connection.close()
    return {"contacts": contacts, "rounds": rounds}


async def _one(
    clients: Clients, home: Home, connection: "asyncpg.Connection[asyncpg.Record]", name: str
) -> dict[str, Any]:
    big = shard_of(POOL)
    pool = await _pool_of_another_router(connection, name)
    queue = {"queues": {pool: {"pool": pool}}, "agents": {f"{pool}-{n}": {"pool": pool} for n in range(4)}}
    await apply(clients.administrator(), queue)
    integration = clients.integration()
    await wait_until_known(integration, {"queue": pool, "channel": "voice"})
    crew = Crew()
    workers = [asyncio.create_task(crew.work(clients.desktop(f"{pool}-{n}"))) for n in range(4)]
    await asyncio.sleep(2)

    async def post() -> None:
        began = time.perf_counter()
        accepted = await integration.post({"queue": pool, "channel": "voice"})
        crew.posted[accepted["id"]] = began

    newcomers = clients.integration()

    async def come() -> None:
        await newcomers.post({"queue": POOL, "channel": "email"})  # so that there is something to commit

    load = [asyncio.create_task(endless(post, PROBE_RATE)), asyncio.create_task(endless(come, COMING_RATE))]
    await asyncio.sleep(CALM_S)
    epoch = await connection.fetchval("SELECT epoch FROM shard_lease WHERE shard = $1", big)
    pid = await owner_pid(home, connection, big)
    killed = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    while not await connection.fetchval(
        "SELECT 1 FROM routing_log WHERE shard = $1 AND epoch > $2 LIMIT 1", big, epoch
    ):
        if time.perf_counter() - killed > TAKEOVER_TIMEOUT_S:
            raise Trouble(f"shard {big} was not taken over within {TAKEOVER_TIMEOUT_S:.0f} s")
        await asyncio.sleep(0.01)
    took_s = time.perf_counter() - killed
    await asyncio.sleep(AFTER_S)
    await stop(load)
    await crew.finish()
    await stop(workers)
    waits = {one: (crew.offered.get(one, time.perf_counter()) - at) * 1000 for one, at in crew.posted.items()}
    calm = [wait for one, wait in waits.items() if crew.posted[one] < killed - 1]
    around = [wait for one, wait in waits.items() if crew.posted[one] >= killed - 1]
    return {
        "took_s": took_s,
        "before_ms": {**percentiles(calm), "max": max(calm)},
        "around_ms": {**percentiles(around), "max": max(around)},
    }


async def _pool_of_another_router(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> str:
    rows = await connection.fetch("SELECT shard, owner FROM shard_lease")
    owners = {row["shard"]: row["owner"] for row in rows}
    for number in range(20 * SHARDS):
        pool = f"{name}-{number}"
        if owners[shard_of(pool)] != owners[shard_of(POOL)]:
            return pool
    raise Trouble("one router owns every shard: is there a second one?")


def _backlog(contacts: int) -> Iterator[ContactSubmitted]:
    for number in range(contacts):
        yield ContactSubmitted(
            contact_id=new_id(),
            queue=POOL,
            pool=POOL,
            channel="email",
            priority=0,
            requirements=(),
            accepted_at_ms=SystemClock.wall_ms(),
            need=Need(region=f"r{number}", any=(Need(skill=f"s{number % 50}"), Need(agent=f"a{number % 50}"))),
        )


async def _until_they_wait(connection: "asyncpg.Connection[asyncpg.Record]", contacts: int) -> None:
    count = "SELECT count(*) FROM contact WHERE queue_id = $1 AND ended_at_ms IS NULL"
    deadline = time.perf_counter() + FILLED_TIMEOUT_S
    while await connection.fetchval(count, POOL) < contacts:
        if time.perf_counter() > deadline:
            raise Trouble(f"the router did not queue {contacts} contacts within {FILLED_TIMEOUT_S:.0f} s")
        await asyncio.sleep(0.2)
