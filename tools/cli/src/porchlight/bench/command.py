"""`porchlight bench` as a command: a platform to measure, the figures, JSON."""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvloop

from porchlight.bench import idle, needs, routers, whole_platform
from porchlight.clients.connect import connect
from porchlight.installation import Home
from porchlight.replay.command import as_json, checked, versions, write_json

Say = Callable[[str], None]


def measure(
    what: str, *, home: str | None, json: Path | None, times: int, contacts: int, agents: int, say: Say
) -> None:
    """Measure, print, write. Ends with status 1 when the history of the run does not hold."""
    with _platform(home, say) as place:
        figures = uvloop.run(_measure(what, place, times, contacts, agents, say))
    write_json(json, figures)
    if figures.get("check", {}).get("violations"):
        raise SystemExit(1)


async def _measure(what: str, home: Home, times: int, contacts: int, agents: int, say: Say) -> dict[str, Any]:
    clients, running = await connect(home, client="bench")
    figures: dict[str, Any] = {"versions": versions(running), "load_average": os.getloadavg()}
    async with clients:
        if what in ("all", "latency"):
            figures["latency"] = await whole_platform.latency(clients, running, say)
        if what in ("all", "throughput"):
            figures["throughput"] = await whole_platform.throughput(clients, say)
        if what in ("all", "takeover"):
            figures["takeover"] = await whole_platform.takeover(clients, home, running, say, times=times)
        if what == "idle":
            figures["idle"] = await idle.idle(clients, home, say, agents=agents)
        if what == "needs":
            figures["needs"] = await needs.needs(clients, home, running, say, contacts=contacts or 20_000, times=times)
            return figures
        if what == "routers":
            figures["routers"] = await routers.routers(clients, running, say, contacts=contacts or 12_000)
            return figures
        await asyncio.sleep(3)
    figures["check"] = as_json(await checked(home, running))
    say(f"check: {figures['check']['violations']} violations")
    return figures


@contextlib.contextmanager
def _platform(home: str | None, say: Say) -> Iterator[Home]:
    if home is not None:
        yield Home(home)
        return
    with tempfile.TemporaryDirectory(prefix="porchlight-bench-") as folder:
        command = [sys.executable, "-m", "porchlight"]
        options = ["--home", folder]
        subprocess.run([*command, "up", *options, "--port-base", "0", "--log-level", "warning"], check=True)
        try:
            yield Home(folder)
        finally:
            subprocess.run([*command, "down", *options], check=False)
