"""Faults of a running platform under load: what brings them about, and what shows that they happened."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from common.testing.eventually import eventually
from porchlight.local.processes import Known, Pids, started_ticks
from porchlight.replay.command import checked, journals_folder
from tests.support.load import Load
from tests.support.platforms import RunningPlatform


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


class LogFromHere:
    """What a process writes into its log from the making of this on: what it said before shows no fault of now."""

    def __init__(self, platform: RunningPlatform, name: str) -> None:
        self._path = platform.home.logs / f"{name}.log"
        self._start = self._path.stat().st_size

    def text(self) -> str:
        with self._path.open("rb") as log:
            log.seek(self._start)
            return log.read().decode(errors="replace")

    async def says(self, *words: str) -> None:
        """It gets one of `words`."""

        async def look() -> bool:
            return any(word in self.text() for word in words)

        await eventually(look, within_s=30, what=f"{self._path.name} says one of {words}")


@asynccontextmanager
async def router_tables(platform: RunningPlatform) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(platform.running.dsns["router"])
    try:
        yield connection
    finally:
        await connection.close()


def replicas(platform: RunningPlatform) -> dict[str, str]:
    """Where each replica of a service that follows facts for everybody answers, by its process."""
    running = platform.running
    by_service = {"intake": running.intake, "agent-presence": running.presence, "reporting": running.reporting}
    return {f"{service}-{n + 1}": url for service, found in by_service.items() for n, url in enumerate(found)}


async def metric(url: str, name: str, label: str = "") -> float:
    """The sum of a metric's samples, of those with a label of that value where one is given."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(url + "/metrics", timeout=aiohttp.ClientTimeout(total=5)) as said,
    ):
        text = await said.text()
    found = 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and (not label or label in sample.labels.values()):
                found += sample.value
    return found
