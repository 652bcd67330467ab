"""What could be wrong with a machine or an installation, each with a way out."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from porchlight.installation import Home, Trouble
from porchlight.local import kafka, postgres
from porchlight.local.processes import Pids

DISK_FREE_MIN = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check and what it found."""

    check: str
    ok: bool
    text: str


def examine(home: Home) -> list[Finding]:
    """Every check, in order."""
    return [
        _check("folder", lambda: _folder(home)),
        _check("postgres", lambda: postgres.version(postgres.binaries())),
        _check("java", lambda: "java {1} at {0}".format(*kafka.java())),
        _check("kafka", _kafka_jars),
        _check("disk", lambda: _disk(home)),
        _check("platform", lambda: _platform(home)),
    ]


def _check(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check=name, ok=True, text=look())
    except Trouble as why:
        return Finding(check=name, ok=False, text=str(why))


def _folder(home: Home) -> str:
    home.make()
    return f"{home.folder} can be written"


def _kafka_jars() -> str:
    folder = kafka.cache()
    there = sum(1 for _, artifact, number, _ in kafka.coordinates() if (folder / f"{artifact}-{number}.jar").exists())
    return f"{there} of {len(kafka.coordinates())} jars are in {folder}; missing ones are fetched at the next start"


def _disk(home: Home) -> str:
    free = shutil.disk_usage(home.folder).free
    if free < DISK_FREE_MIN:
        raise Trouble(f"{free / 1e6:.0f} MB free under {home.folder}: make room, or choose another --home")
    return f"{free / 1e9:.0f} GB free"


def _platform(home: Home) -> str:
    pid = home.is_locked()
    left = Pids(home).alive()
    if pid is None and left:
        names = ", ".join(f"{known.name} ({known.pid})" for known in left)
        raise Trouble(f"{names} run without a supervisor: `porchlight down` stops them, `porchlight up` takes over")
    return "nothing runs" if pid is None else f"the supervisor runs with pid {pid}, {len(left)} processes"
