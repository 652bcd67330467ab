"""`porchlight replay` and `porchlight check` as commands: journal, progress, table, JSON."""

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from porchlight.clients.connect import connect
from porchlight.installation import Home, Running, Trouble
from porchlight.replay import demo_day
from porchlight.replay.call_log import read_day
from porchlight.replay.player import Replay, differences
from porchlight_checker.check import Verdict, check
from porchlight_checker.history import load

DEMO_FILE = Path(__file__).parent / "demo-day.tsv"
PLAIN_EVERY_S = 10.0
LISTED_MAX = 20


async def replay_and_check(
    home: Home, file: Path | None, *, day: str, speed: float, json: Path | None, console: Console
) -> bool:
    """Play a day; True when the check found nothing and reporting agrees with the clients."""
    if not 0.1 <= speed <= 10_000:
        raise Trouble("--speed must lie between 0.1 and 10000")
    played = read_day(file or DEMO_FILE, day if file else demo_day.DAY)
    console.print(f"{len(played.calls)} calls, {len(played.shifts)} agents, speed {speed:g}")
    journal = journals_folder(home) / f"replay-{time.time_ns() // 1_000_000}.jsonl"
    clients, running = await connect(home, client="replay", journal=journal)
    async with clients:
        with progress_bar(console) as progress:
            result = await Replay(clients, played, speed=speed, progress=progress).run()
    verdict = await checked(home, running)
    differing = differences(result)
    _print(result, differing, verdict, console)
    write_json(
        json,
        {
            "file": str(file.name if file else DEMO_FILE.name),
            "day": day if file else demo_day.DAY,
            "speed": speed,
            **result,
            "differences": differing,
            "check": as_json(verdict),
            "versions": versions(running),
        },
    )
    return not differing and verdict.total == 0


async def check_history(home: Home, journals: list[Path], *, json: Path | None, console: Console) -> bool:
    """Check everything that is known; True when nothing was found."""
    running = home.running()
    verdict = await checked(home, running, journals)
    print_verdict(verdict, console)
    write_json(json, {"check": as_json(verdict), "versions": versions(running)})
    return verdict.total == 0


async def checked(home: Home, running: Running, journals: list[Path] | None = None) -> Verdict:
    """The verdict on the platform's history and on every journal."""
    found = sorted(journals_folder(home).glob("*.jsonl")) + (journals or [])
    history = await load(
        dsns=running.owner_dsns, kafka=running.kafka, topic_prefix=running.topic_prefix, journals=found
    )
    return check(history)


def journals_folder(home: Home) -> Path:
    """Where clients' journals are kept."""
    folder = home.folder / "journals"
    folder.mkdir(exist_ok=True)
    return folder


def versions(running: Running) -> dict[str, str]:
    """What was measured with."""
    names = ("aiokafka", "asyncpg", "fastapi", "uvicorn", "uvloop", "msgspec", "porchlight-common")
    return {**running.versions, "python": platform.python_version(), **{name: version(name) for name in names}}


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict for programs."""
    return {
        "violations": verdict.total,
        "listed": [{"invariant": one.invariant, "text": one.text} for one in verdict.violations],
        "looked_at": verdict.looked_at,
    }


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """All figures, for programs."""
    if path is not None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not console.is_terminal:
        said = time.monotonic()

        def plain(done: int, total: int) -> None:
            nonlocal said
            if time.monotonic() - said >= PLAIN_EVERY_S or done == total:
                said = time.monotonic()
                console.print(f"{done} of {total} calls are over")

        yield plain
        return
    columns = (TextColumn("calls"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("calls", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_verdict(verdict: Verdict, console: Console) -> None:
    """What the checker found."""
    looked = ", ".join(f"{number} {name}" for name, number in verdict.looked_at.items())
    if verdict.total == 0:
        console.print(f"[green]check: nothing lost, doubled or over capacity[/] ({looked})")
        return
    console.print(f"[red]check: {verdict.total} violations[/] ({looked})")
    for one in verdict.violations[:LISTED_MAX]:
        console.print(f"  {one.invariant}  {one.text}", markup=False)


def _print(result: dict[str, Any], differing: list[str], verdict: Verdict, console: Console) -> None:
    table = Table("", "clients", "reporting")
    for name in ("offered", "answered", "abandoned", "waiting", "service_level", "asa_s", "aht_s"):
        ours = _text(result["clients"][name])
        if name == "service_level":
            ours = f"{ours} to {_text(result['clients']['service_level_at_most'])}"
        table.add_row(name.replace("_", " "), ours, _text(result["reporting"][name]))
    seen = result["clients"]["post_to_offer_ms"]
    table.add_row("POST to offer seen, p50 ms", _text(seen["p50"]), "")
    table.add_row("POST to offer seen, p99 ms", _text(seen["p99"]), "")
    console.print(table)
    for line in differing:
        console.print(f"[red]{escape(line)}[/]")
    print_verdict(verdict, console)


def _text(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
