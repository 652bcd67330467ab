"""`porchlight simulate` and `porchlight whatif`: what they read, run and show."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from statistics import fmean

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from porchlight.installation import Trouble
from porchlight.simulate.case_files import read_cases
from porchlight.simulate.recorded_day import bank_day, recorded
from porchlight.simulate.scenario_files import read_scenario
from porchlight_simulator import presentation
from porchlight_simulator.replications import play_all
from porchlight_simulator.scenario import Scenario
from porchlight_simulator.statistics import Row, figure, summary
from porchlight_simulator.validation import judge

LEVEL = 0.99
REPLICATIONS_MAX = 10_000


def simulate_scenario(
    path: Path,
    *,
    seed: int | None,
    replications: int | None,
    json_to: Path | None,
    plot_to: Path | None,
    console: Console,
) -> None:
    """Play a scenario, and show what came of it."""
    scenario = _changed(read_scenario(path), seed=seed, replications=replications)
    _show(scenario, json_to=json_to, plot_to=plot_to, console=console)


def simulate_day(
    path: Path, day: str, *, seed: int, replications: int, json_to: Path | None, plot_to: Path | None, console: Console
) -> None:
    """Play a recorded day, beside what was recorded."""
    _check(seed=seed, replications=replications)
    was = recorded(path, day)
    days = [bank_day(path, day, seed=seed + number, replications=replications) for number in range(replications)]
    found = _show(days[0], json_to=json_to, plot_to=plot_to, console=console, each=days)
    beside = Table(title=f"{day}: {was.calls} calls that wanted an agent")
    for column in ("", "recorded", "simulated"):
        beside.add_column(column, justify="right")
    for label, value, name in (
        ("share abandoned", was.share_abandoned, "share_abandoned"),
        ("mean wait, s", was.mean_wait_s, "mean_wait"),
        ("share answered within 20 s", was.service_level, "service_level"),
    ):
        mine = found["all"][name]
        beside.add_row(label, f"{value:.3f}", f"{mine.mean:.3f} ± {mine.half:.3f}")
    console.print(beside)


def simulate_cases(path: Path, *, seed: int, json_to: Path | None, console: Console) -> bool:
    """Run a file of cases; whether all hold."""
    _check(seed=seed, replications=None)
    cases = read_cases(path)
    with _progress(console) as told:
        outcomes = judge.judge(cases, seed=seed, told=told)
    if json_to is not None:
        json_to.write_text(judge.as_json(outcomes))
    shown = Table(title=f"{path.name}: {sum(one.holds for one in outcomes)} of {len(outcomes)} cases hold")
    for column in ("case", "family", "values", "runs", "contacts", "widest miss"):
        shown.add_column(column)
    for one in outcomes:
        missed = [each for each in one.values if not each.holds]
        text = "; ".join(f"{each.name} {each.exact:g} not in {each.low:g}..{each.high:g}" for each in missed)
        shown.add_row(one.case, one.family, str(len(one.values)), str(one.runs), f"{one.contacts:,}", text or "holds")
    console.print(shown)
    return all(one.holds for one in outcomes)


def compare(
    first: Path, second: Path, *, seed: int | None, replications: int | None, json_to: Path | None, console: Console
) -> None:
    """Two policies under the same arrivals, handle times and patience: the difference, with its interval."""
    one, other = (_changed(read_scenario(path), seed=seed, replications=replications) for path in (first, second))
    if [each.name for each in one.arrivals] != [each.name for each in other.arrivals]:
        raise Trouble(
            "both scenarios must have the same arrivals by name, in the same order: they share their random numbers"
        )
    other = msgspec.structs.replace(other, seed=one.seed, replications=one.replications)
    with _progress(console) as told:
        rows = _rows(one, told), _rows(other, told)
    shown = Table(title=f"{second.name} minus {first.name}: the same random numbers in {one.replications} replications")
    for column in ("", "figure", first.name, second.name, f"difference ± at {LEVEL:.0%}"):
        shown.add_column(column, justify="right")
    found = {}
    for who in ("all", *(each.name for each in one.arrivals)):
        for name, label in presentation.SHOWN.items():
            if name not in rows[0][0][who] or name not in rows[1][0][who]:
                continue
            pairs = [(a[who][name], b[who][name]) for a, b in zip(*rows, strict=True)]
            change = figure([b - a for a, b in pairs], LEVEL)
            if not isfinite(change.mean):
                continue  # without bounds in one of them: there is no difference to tell
            half = change.half if isfinite(change.half) else None
            found[f"{who}.{name}"] = {"mean": change.mean, "half_width": half, "level": LEVEL}
            before, after = fmean(a for a, _ in pairs), fmean(b for _, b in pairs)
            clear = "*" if abs(change.mean) > change.half else ""
            shown.add_row(
                who, label, f"{before:.4g}", f"{after:.4g}", f"{change.mean:+.4g} ± {change.half:.2g} {clear}"
            )
    console.print(shown)
    console.print("* the difference is more than chance")
    if json_to is not None:
        json_to.write_bytes(msgspec.json.format(msgspec.json.encode(found, order="sorted"), indent=1) + b"\n")


def _show(
    scenario: Scenario,
    *,
    json_to: Path | None,
    plot_to: Path | None,
    console: Console,
    each: Sequence[Scenario] | None = None,
) -> presentation.Summary:
    """Play the scenario, or `each` of them once, and show what came of it."""
    if plot_to is not None and plot_to.suffix not in presentation.PICTURES:
        raise Trouble(f"--plot writes {' or '.join(presentation.PICTURES)}, not {plot_to.name}")
    with _progress(console) as told:
        rows = _rows(scenario, told, each=each)
    found = summary(rows, LEVEL)
    console.print(presentation.table(scenario, found))
    if json_to is not None:
        json_to.write_text(presentation.as_json(scenario, found))
    if plot_to is not None:
        presentation.plot(plot_to, scenario, rows)
    return found


def _rows(
    scenario: Scenario, told: Callable[[int, int], None], *, each: Sequence[Scenario] | None = None
) -> Sequence[dict[str, Row]]:
    rows = []
    worlds = each or [scenario] * scenario.replications
    for row in play_all([(world, number) for number, world in enumerate(worlds)]):
        rows.append(row)
        told(len(rows), scenario.replications)
    return rows


def _changed(scenario: Scenario, *, seed: int | None, replications: int | None) -> Scenario:
    _check(seed=seed, replications=replications)
    changes = {"seed": seed, "replications": replications}
    return msgspec.structs.replace(scenario, **{name: value for name, value in changes.items() if value is not None})


def _check(*, seed: int | None, replications: int | None) -> None:
    if replications is not None and not 1 <= replications <= REPLICATIONS_MAX:
        raise Trouble(f"--replications must be 1 to {REPLICATIONS_MAX:,}")
    if seed is not None and seed < 0:
        raise Trouble("--seed must not be negative")


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("replications"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("replications", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
