"""`porchlight bench idle`: POST to offer while many other agents hold a poll and nothing comes for them."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porchlight.bench.whole_platform import AGENTS, Crew, at_rate, prepare, stop
from porchlight.clients.http import Clients, Desktop, Refused
from porchlight.installation import Home
from porchlight.local.processes import Pids
from porchlight.replay.player import percentiles

POOL = "idle"
RATE = 20
MEASURED_S = 40.0
AT_ONCE = 40
"""Agents who are defined or sign in at the same moment, as on a morning and not as in a storm."""
SETTLED_S = 30.0
"""One round of held polls: afterwards they end evenly."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Say = Callable[[str], None]


@dataclass(slots=True)
class Idle:
    """Agents who hold a poll and are offered nothing. `refused`: answers that were no inbox, by their problem."""

    held: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    async def wait(self, desktop: Desktop, turns: asyncio.Semaphore) -> None:
        """Sign in and poll, until cancelled."""
        async with turns:
            await desktop.sign_in()
        self.held += 1
        while True:
            try:
                await desktop.inbox()
            except Refused as why:
                self.refused[why.kind] = self.refused.get(why.kind, 0) + 1
                await desktop.sign_in()


async def idle(clients: Clients, home: Home, say: Say, *, agents: int) -> dict[str, Any]:
    """POST to offer in milliseconds at 20 a second, without and with so many held polls, in one run.

    `unavailable`: answers 503 to the idle agents' polls. CPU and memory of agent-presence are those of all its instances.
    """
    integration = await prepare(clients)
    crew = Crew()
    workers = [asyncio.create_task(crew.work(clients.desktop(f"bench-{n}"))) for n in range(AGENTS)]
    await asyncio.sleep(2)
    without = await _measured(crew, lambda: crew.post(integration))
    say(f"nobody idle: POST to offer {without['p50']:.1f} / {without['p99']:.1f} ms")

    began, before_kb = time.perf_counter(), _memory_kb(home)
    turns = asyncio.Semaphore(AT_ONCE)
    desktops = await _defined(clients, agents, turns)
    waiting = Idle()
    holders = [asyncio.create_task(waiting.wait(desktop, turns)) for desktop in desktops]
    while waiting.held < agents:
        await asyncio.sleep(0.1)
    say(f"{agents} agents defined and signed in after {time.perf_counter() - began:.0f} s")
    await asyncio.sleep(SETTLED_S)
    unavailable, cpu_s, started = _unavailable(desktops), _cpu_s(home), time.perf_counter()
    with_idle = await _measured(crew, lambda: crew.post(integration))
    used_s = (_cpu_s(home) - cpu_s) / (time.perf_counter() - started)
    unavailable = _unavailable(desktops) - unavailable
    per_agent_kb = (_memory_kb(home) - before_kb) / max(agents, 1)
    await crew.finish()
    await stop([*workers, *holders])
    say(
        f"{waiting.held} held polls: POST to offer {with_idle['p50']:.1f} / {with_idle['p99']:.1f} ms, {unavailable} answers of"
        f" 503, refused {waiting.refused}; agent-presence uses {used_s:.2f} of a core, {per_agent_kb:.0f} kB an agent"
    )
    return {
        "agents": agents,
        "without_ms": without,
        "with_ms": with_idle,
        "unavailable": unavailable,
        "refused": waiting.refused,
        "presence_cores": used_s,
        "presence_kb_an_agent": per_agent_kb,
    }


async def _measured(crew: Crew, post: Callable[[], Any]) -> dict[str, Any]:
    before = set(crew.posted)
    await at_rate(post, RATE, MEASURED_S)
    await asyncio.sleep(1)
    return percentiles(
        [(crew.offered[one] - crew.posted[one]) * 1000 for one in set(crew.posted) - before if one in crew.offered]
    )


async def _defined(clients: Clients, agents: int, turns: asyncio.Semaphore) -> list[Desktop]:
    names = [f"idle-{n}" for n in range(agents)]
    administrator = clients.administrator()

    async def define(name: str) -> None:
        async with turns:
            await administrator.put_agent(name, {"pool": POOL})

    await asyncio.gather(*(define(name) for name in names))
    return [clients.desktop(name) for name in names]


def _unavailable(desktops: list[Desktop]) -> int:
    return sum(desktop.unavailable for desktop in desktops)


def _presence(home: Home) -> list[int]:
    return [known.pid for known in Pids(home).alive() if known.name.startswith("agent-presence")]


def _cpu_s(home: Home) -> float:
    ticks = 0
    for pid in _presence(home):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_S


def _memory_kb(home: Home) -> int:
    found = 0
    for pid in _presence(home):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        found += next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return found
