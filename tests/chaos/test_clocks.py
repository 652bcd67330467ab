"""PostgreSQL's clock jumps ten minutes ahead and back under load, as when a machine slept or its clock was put right."""

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from common.testing.eventually import eventually
from porchlight.local.postgres import binaries
from tests.support import deploy_tools
from tests.support.faults import replicas, under_load
from tests.support.platforms import RunningPlatform, started

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.long,
    pytest.mark.skipif(deploy_tools.faketime() is None, reason="needs libfaketime: `make deploy-tools`"),
]

JUMP_S = 600
READY_WITHIN_S = 60


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that says by how many seconds the wall clock of PostgreSQL is ahead; its monotonic clock is the machine's."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "bin").mkdir()
    put(folder / "ahead", 0)
    settings = {
        "LD_PRELOAD": deploy_tools.faketime(),
        "FAKETIME_TIMESTAMP_FILE": folder / "ahead",
        "FAKETIME_DONT_FAKE_MONOTONIC": 1,
        "FAKETIME_CACHE_DURATION": 1,
        "FAKETIME_DISABLE_SHM": 1,
        "FAKETIME_DONT_RESET": 1,
    }
    words = " ".join(f"{name}='{value}'" for name, value in settings.items())
    for name, before in (("postgres", f"{words} "), ("initdb", "")):
        program = folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{before}exec '{binaries()}/{name}' \"$@\"\n")
        program.chmod(0o755)
    return folder / "ahead"


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory, clock: Path) -> Iterator[RunningPlatform]:
    environment = {"PORCHLIGHT_PG_BIN": str(clock.parent / "bin")}
    home = tmp_path_factory.mktemp("timed")
    with started(home, environment=environment, intake=1, router=2, presence=1, reporting=1) as found:
        yield found


def put(clock: Path, seconds: int) -> None:
    """From the next second on the clock is so far ahead."""
    clock.write_text(f"+{seconds}\n")


async def ahead_s(platform: RunningPlatform) -> float:
    """By how much PostgreSQL's clock is ahead of ours."""
    connection = await asyncpg.connect(platform.running.dsns["admin"])
    try:
        return float(await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")) - time.time()
    finally:
        await connection.close()


async def differs_by(platform: RunningPlatform, seconds: float) -> bool:
    return abs(await ahead_s(platform) - seconds) < 5


async def all_ready(platform: RunningPlatform) -> bool:
    async with aiohttp.ClientSession() as http:
        for url in [*replicas(platform).values(), *platform.running.router]:
            try:
                async with http.get(url + "/readyz", timeout=aiohttp.ClientTimeout(total=5)) as answer:
                    if answer.status != 200:
                        return False
            except aiohttp.ClientConnectionError:
                return False  # a service that finds itself ahead of the time starts again
    return True


@pytest.mark.parametrize("jump_s", [JUMP_S, 0])
async def test_a_jump_of_the_databases_clock_is_lived_through_without_a_hand(
    timed: RunningPlatform, clock: Path, tmp_path: Path, jump_s: int
) -> None:
    """Ahead, and back again: contacts flow, all services are ready within a minute, and the history holds."""
    before_s = await ahead_s(timed)
    async with under_load(timed, tmp_path):
        put(clock, jump_s)
        await eventually(partial(differs_by, timed, jump_s), within_s=10, what=f"the clock is {jump_s} s ahead")
        assert abs(before_s - jump_s) > JUMP_S / 2, "nothing jumped"
        await asyncio.sleep(12)  # longer than any lease and than what services notice a step by
        await eventually(partial(all_ready, timed), within_s=READY_WITHIN_S, what="every service is ready")
