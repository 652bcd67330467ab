"""Whoever applies the facts for a service is stopped for longer than their right lasts: another replica goes on."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.runtime.following import IDLE_SESSION_TIMEOUT_S
from common.testing.eventually import eventually
from tests.support.faults import log_says, process, stopped, under_load
from tests.support.platforms import RunningPlatform, started

pytestmark = pytest.mark.timeout(300)

ENDS_WITHIN_S = IDLE_SESSION_TIMEOUT_S + 10
"""PostgreSQL ends a silent session after the first part; the next replica tries each second, on a busy machine late."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """Two of each service that follows facts."""
    with started(tmp_path_factory.mktemp("pairs"), intake=2, router=1, presence=2, reporting=2) as found:
        yield found


def urls(platform: RunningPlatform) -> dict[str, str]:
    """Where each replica answers, by its process."""
    running = platform.running
    by_service = {"intake": running.intake, "agent-presence": running.presence, "reporting": running.reporting}
    return {f"{service}-{n + 1}": url for service, found in by_service.items() for n, url in enumerate(found)}


async def leads(url: str) -> bool:
    """Whether this replica is the one that applies the facts, by its own figures."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(url + "/metrics", timeout=aiohttp.ClientTimeout(total=3)) as said,
    ):
        text = await said.text()
    families = [one for one in text_string_to_metric_families(text) if one.name == "follower_leads"]
    return any(sample.value == 1 for family in families for sample in family.samples)


async def test_a_leader_that_is_stopped_is_followed_by_another_and_gives_way(
    pairs: RunningPlatform, tmp_path: Path
) -> None:
    """Those of all three services at once, while contacts flow."""
    at = urls(pairs)
    async with under_load(pairs, tmp_path):
        leaders = [name for name, url in at.items() if await leads(url)]
        assert len(leaders) == 3, leaders
        others = [name for name in at if name not in leaders]
        pids = {name: process(pairs, name).pid for name in leaders}
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)
        try:
            for name in others:
                await eventually(lambda name=name: leads(at[name]), within_s=ENDS_WITHIN_S, what=f"{name} leads")  # type: ignore[misc]
            for name, pid in pids.items():
                assert await stopped(pid), f"{name} was not stopped all the time"
        finally:
            for pid in pids.values():
                os.kill(pid, signal.SIGCONT)
        for name in leaders:
            await log_says(pairs, name, "follower_waits")
            assert not await leads(at[name])
