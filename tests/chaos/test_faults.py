"""Kill and pause each part under load; afterwards the history checker finds nothing lost, doubled or over capacity.

Each test proves that its fault really happened.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.contracts.topics import shard_of
from common.testing.eventually import eventually
from tests.support.faults import LogFromHere, kill, process, router_tables, stopped, under_load
from tests.support.platforms import RunningPlatform, started

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def own_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """Servers of its own, durable, that may be killed."""
    with started(tmp_path_factory.mktemp("chaos"), intake=1, router=2, presence=1, reporting=1) as found:
        yield found


@pytest.mark.parametrize("service", ["intake-1", "agent-presence-1", "reporting-1"])
async def test_a_killed_service_loses_and_doubles_nothing(
    own_platform: RunningPlatform, tmp_path: Path, service: str
) -> None:
    log = LogFromHere(own_platform, "supervisor")
    async with under_load(own_platform, tmp_path):
        await kill(own_platform, service)
    await log.says(f"{service} ended with -9")


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
    log = LogFromHere(own_platform, "supervisor")
    async with under_load(own_platform, tmp_path) as load:
        name, epoch = await owner_of(own_platform, shard_of(load.name))
        await kill(own_platform, name)
        await next_reign(own_platform, shard_of(load.name), epoch)
    await log.says(f"{name} ended with -9")
    await shared_evenly(own_platform)


async def test_a_router_that_was_stopped_past_its_lease_writes_nothing_when_it_goes_on(
    own_platform: RunningPlatform, tmp_path: Path
) -> None:
    async with under_load(own_platform, tmp_path) as load:
        shard = shard_of(load.name)
        name, epoch = await owner_of(own_platform, shard)
        log = LogFromHere(own_platform, name)
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
    await log.says("reign_cut_off", "reign_lost", "reign_fenced")  # whichever it notices first
    await shared_evenly(own_platform)


async def test_a_killed_kafka_loses_and_doubles_nothing(own_platform: RunningPlatform, tmp_path: Path) -> None:
    log = LogFromHere(own_platform, "supervisor")
    async with under_load(own_platform, tmp_path):
        await kill(own_platform, "kafka")
    await log.says("kafka ended with -9")


async def test_a_killed_postgres_loses_and_doubles_nothing(own_platform: RunningPlatform, tmp_path: Path) -> None:
    async with under_load(own_platform, tmp_path):
        log = LogFromHere(own_platform, "postgres")
        await kill(own_platform, "postgres")
        await log.says("was not properly shut down")
