"""Whoever applies the facts for a service is stopped for longer than their right lasts: another replica goes on."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from common.runtime.following import IDLE_SESSION_TIMEOUT_S
from common.testing.eventually import eventually
from tests.support.faults import LogFromHere, metric, process, replicas, stopped, under_load
from tests.support.platforms import RunningPlatform

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]

ENDS_WITHIN_S = IDLE_SESSION_TIMEOUT_S + 10
"""PostgreSQL ends a silent session after the first part; the next replica tries each second, on a busy machine late."""


async def leads(url: str) -> bool:
    """Whether this replica is the one that applies the facts, by its own figures."""
    return await metric(url, "follower_leads") > 0


async def gives_way(url: str) -> bool:
    return not await leads(url)


async def test_a_leader_that_is_stopped_is_followed_by_another_and_gives_way(
    pairs: RunningPlatform, tmp_path: Path
) -> None:
    """Those of all three services at once, while contacts flow."""
    at = replicas(pairs)
    async with under_load(pairs, tmp_path):
        leaders = [name for name, url in at.items() if await leads(url)]
        others = [name for name in at if name not in leaders]
        assert len(leaders) == len(others) == 3, leaders
        logs = {name: LogFromHere(pairs, name) for name in leaders}
        pids = {name: process(pairs, name).pid for name in leaders}
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)
        try:
            for name in others:
                await eventually(partial(leads, at[name]), within_s=ENDS_WITHIN_S, what=f"{name} leads")
            for name, pid in pids.items():
                assert await stopped(pid), f"{name} was not stopped all the time"
        finally:
            for pid in pids.values():
                os.kill(pid, signal.SIGCONT)
        for name in leaders:
            await logs[name].says("follower_waits")
            await eventually(partial(gives_way, at[name]), within_s=ENDS_WITHIN_S, what=f"{name} gives way")
