"""Kill and pause each part under load; afterwards the history checker finds nothing lost, doubled or over capacity.

Each test proves that its fault really happened.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from common.contracts.topics import shard_of
from common.testing.eventually import eventually
from porchlight.processes import Known, Pids, started_ticks
from porchlight.replaying import checked, journals_folder
from tests.support.load import Load
from tests.support.platforms import RunningPlatform, started

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def own_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """Servers of its own, durable, that may be killed."""
    with started(tmp_path_factory.mktemp("chaos"), intake=1, router=2, presence=1, reporting=1) as found:
        yield found


@asynccontextmanager
async def under_load(platform: RunningPlatform, tmp_path: Path) -> AsyncIterator[Load]:
    """Load for three seconds before, six after contacts flow again; then everything settles and the checker judges all of history."""
    journal = journals_folder(platform.home) / f"{tmp_path.name}.jsonl"
    async with platform.clients(client=f"chaos-{tmp_path.name}", journal=journal) as clients:
        load = Load(clients)
        await load.start()
        await asyncio.sleep(3)
        yield load
        after = len(load.posted)

        async def flowing() -> bool:
            return len(load.posted) > after

        await eventually(flowing, within_s=60, what="contacts flow again after the fault")
        await asyncio.sleep(6)
        await load.finish()
        assert load.gave_up == 0
    await settled(platform)


async def settled(platform: RunningPlatform) -> None:
    async def nothing_found() -> bool:
        return (await checked(platform.home, platform.running)).total == 0

    try:
        await eventually(nothing_found, within_s=20)
    except AssertionError:
        verdict = await checked(platform.home, platform.running)
        assert verdict.violations == []
    verdict = await checked(platform.home, platform.running)
    assert verdict.looked_at["contacts"] > 50 and verdict.looked_at["journal lines"] > 300


def process(platform: RunningPlatform, name: str) -> Known:
    return next(known for known in Pids(platform.home).alive() if known.name == name)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def stopped(pid: int) -> bool:
    return state_of(pid) in "Tt"


async def kill(platform: RunningPlatform, name: str) -> None:
    """kill -9, and wait until the supervisor has started it again: a new process under the same name."""
    known = process(platform, name)
    os.kill(known.pid, signal.SIGKILL)

    async def again() -> bool:
        return any(one.name == name and one.pid != known.pid for one in Pids(platform.home).alive())

    await eventually(again, within_s=30, what=f"{name} runs again")
    assert started_ticks(known.pid) != known.started_ticks, f"{name} was not killed"


async def log_says(platform: RunningPlatform, name: str, *words: str) -> None:
    """The log has one of `words`."""

    async def look() -> bool:
        text = (platform.home.logs / f"{name}.log").read_text(errors="replace")
        return any(word in text for word in words)

    await eventually(look, within_s=30, what=f"{name}.log says one of {words}")


@asynccontextmanager
async def router_tables(platform: RunningPlatform) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(platform.running.dsns["router"])
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("service", ["intake-1", "agent-presence-1", "reporting-1"])
async def test_a_killed_service_loses_and_doubles_nothing(
    own_platform: RunningPlatform, tmp_path: Path, service: str
) -> None:
    async with under_load(own_platform, tmp_path):
        await kill(own_platform, service)
    await log_says(own_platform, "supervisor", f"{service} ended with -9")


async def owner_of(platform: RunningPlatform, shard: int) -> tuple[str, int]:
    async with router_tables(platform) as connection:
        row = await connection.fetchrow("SELECT owner, epoch FROM shard_lease WHERE shard = $1", shard)
    assert row is not None
    return f"router-{row['owner'].partition('/')[0]}", row["epoch"]


async def next_reign(platform: RunningPlatform, shard: int, epoch: int) -> None:
    async def look() -> bool:
        return (await owner_of(platform, shard))[1] > epoch

    await eventually(look, within_s=15, what=f"shard {shard} has an epoch after {epoch}")


async def shared_evenly(platform: RunningPlatform) -> None:
    """Both routers own half of the shards, and none moves any more."""

    async def look() -> bool:
        async with router_tables(platform) as connection:
            rows = [await connection.fetch("SELECT shard, owner, epoch FROM shard_lease ORDER BY 1")]
            await asyncio.sleep(4)
            rows.append(await connection.fetch("SELECT shard, owner, epoch FROM shard_lease ORDER BY 1"))
        shares = Counter(row["owner"] for row in rows[1])
        return rows[0] == rows[1] and sorted(shares.values()) == [6, 6]

    await eventually(look, within_s=30, what="two routers share the shards evenly")


async def test_a_killed_router_is_taken_over(own_platform: RunningPlatform, tmp_path: Path) -> None:
    async with under_load(own_platform, tmp_path) as load:
        name, epoch = await owner_of(own_platform, shard_of(load.name))
        await kill(own_platform, name)
        await next_reign(own_platform, shard_of(load.name), epoch)
    await log_says(own_platform, "supervisor", f"{name} ended with -9")
    await shared_evenly(own_platform)


async def test_a_router_that_was_stopped_past_its_lease_writes_nothing_when_it_goes_on(
    own_platform: RunningPlatform, tmp_path: Path
) -> None:
    async with under_load(own_platform, tmp_path) as load:
        shard = shard_of(load.name)
        name, epoch = await owner_of(own_platform, shard)
        pid = process(own_platform, name).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await eventually(lambda: stopped(pid), within_s=5, what=f"{name} is stopped")
            await next_reign(own_platform, shard, epoch)
        finally:
            os.kill(pid, signal.SIGCONT)
    async with router_tables(own_platform) as connection:
        late = await connection.fetchval(
            "SELECT count(*) FROM routing_log WHERE shard = $1 AND epoch = $2 AND seq >"
            " (SELECT min(seq) FROM routing_log WHERE shard = $1 AND epoch > $2)",
            shard,
            epoch,
        )
    assert late == 0
    await log_says(own_platform, name, "reign_cut_off", "reign_lost", "reign_fenced")  # whichever it notices first
    await shared_evenly(own_platform)


async def test_a_killed_kafka_loses_and_doubles_nothing(own_platform: RunningPlatform, tmp_path: Path) -> None:
    async with under_load(own_platform, tmp_path):
        await kill(own_platform, "kafka")
    await log_says(own_platform, "supervisor", "kafka ended with -9")


async def test_a_killed_postgres_loses_and_doubles_nothing(own_platform: RunningPlatform, tmp_path: Path) -> None:
    async with under_load(own_platform, tmp_path):
        await kill(own_platform, "postgres")
        await log_says(own_platform, "postgres", "was not properly shut down")
