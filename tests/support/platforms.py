"""Whole platforms, started and stopped through the `porchlight` command."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from porchlight.clients.connect import connect
from porchlight.clients.http import Clients
from porchlight.installation import Home, Running
from porchlight.jobs.keys import issue_token


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningPlatform:
    """A platform that runs, and the folder that it lives in."""

    home: Home
    running: Running

    @asynccontextmanager
    async def clients(self, *, client: str = "tests", journal: Path | None = None) -> AsyncIterator[Clients]:
        clients, _ = await connect(self.home, client=client, journal=journal)
        async with clients:
            yield clients

    def token(self, subject: str, role: str, *, life_s: int = 600) -> str:
        return issue_token(self.home, subject=subject, role=role, life_s=life_s)  # type: ignore[arg-type]


def command(*words: str, home: Path, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run `porchlight` to its end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORCHLIGHT_")}
    return subprocess.run(
        [sys.executable, "-m", "porchlight", *words, "--home", str(home)],
        env={**kept, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@contextmanager
def started(home: Path, *, environment: dict[str, str] | None = None, **counts: int) -> Iterator[RunningPlatform]:
    """A platform on free ports while the block runs."""
    options = [word for name, number in counts.items() for word in (f"--{name}", str(number))]
    done = command("up", "--port-base", "0", *options, home=home, environment=environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{_logs(home)}"
    try:
        yield RunningPlatform(home=Home(home), running=Home(home).running())
    finally:
        stopped = command("down", home=home)
        assert stopped.returncode == 0, f"{stopped.stdout}\n{stopped.stderr}"


def _logs(home: Path) -> str:
    return "\n".join(f"{path.name}: {path.read_text()[-800:]}" for path in (home / "logs").glob("*.log"))
