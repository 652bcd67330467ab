"""`porchlight bench routers`: how fast the routers that run now work off a backlog, spread evenly over all shards.

The backlog is written to Kafka past intake, so that nothing but routers, PostgreSQL and Kafka has work. How many routers
there are, and how much CPU each may use, is for whoever runs them to set; see docs/scaling.md.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg

from common.contracts.contacts import CancelRequested, ContactSubmitted
from common.contracts.topics import SHARDS, shard_of
from common.runtime.clock import SystemClock, new_id
from porchlight.bench.backlog import write
from porchlight.clients.apply import apply, wait_until_known
from porchlight.clients.http import Clients
from porchlight.installation import Running, Trouble

WORKED_OFF_TIMEOUT_S = 300.0
LINES_A_CONTACT = 2
"""Queued and abandoned."""

Say = Callable[[str], None]


def pools() -> list[str]:
    """A pool in every shard."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < SHARDS:
        name = f"scale-{number}"
        found.setdefault(shard_of(name), name)
        number += 1
    return [found[shard] for shard in sorted(found)]


async def routers(clients: Clients, running: Running, say: Say, *, contacts: int) -> dict[str, Any]:
    """Contacts a second that the routers take in and end, `contacts` in all; each is two lines of the log."""
    names = pools()
    await apply(clients.administrator(), {"queues": {name: {"pool": name} for name in names}})
    for name in names:
        known = await wait_until_known(clients.integration(), {"queue": name, "channel": "email"})
        await clients.integration().cancel(known["id"], "withdrawn")
    await asyncio.sleep(2)
    connection = await asyncpg.connect(running.owner_dsns["router"])
    try:
        before = await _lines(connection)
        began = time.perf_counter()
        await write(running, _backlog(names, contacts // len(names)))
        filled = time.perf_counter()
        wanted = before + contacts // len(names) * len(names) * LINES_A_CONTACT
        while await _lines(connection) < wanted:
            if time.perf_counter() - began > WORKED_OFF_TIMEOUT_S:
                raise Trouble(f"not worked off after {WORKED_OFF_TIMEOUT_S:.0f} s")
            await asyncio.sleep(0.02)
        took = time.perf_counter() - began
    finally:
        await connection.close()
    rate = contacts / took
    say(
        f"{contacts} contacts in {len(names)} pools: {rate:.0f} a second ({filled - began:.1f} s of {took:.1f} s to write them)"
    )
    return {"contacts": contacts, "pools": len(names), "seconds": took, "contacts_per_s": rate}


async def _lines(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    return int(await connection.fetchval("SELECT sum(last_seq) FROM shard_lease"))


def _backlog(names: list[str], each: int) -> Iterator[ContactSubmitted | CancelRequested]:
    """Contacts that come, and leave at once."""
    for _ in range(each):
        for pool in names:
            now_ms, contact_id = SystemClock.wall_ms(), new_id()
            yield ContactSubmitted(
                contact_id=contact_id,
                queue=pool,
                pool=pool,
                channel="email",
                priority=0,
                requirements=(),
                accepted_at_ms=now_ms,
            )
            yield CancelRequested(contact_id=contact_id, pool=pool, reason="customer_gave_up", requested_at_ms=now_ms)
