"""Scenarios as people write them: refused with line and field, or played; an empty result is a result."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from porchlight.installation import Trouble
from porchlight.simulate.command import compare, simulate_scenario
from porchlight.simulate.scenario_files import read_scenario
from porchlight_simulator.statistics import controlled, figure, rare

ROOT = Path(__file__).parents[4]
SCENE = """\
unit: seconds
horizon: 600
replications: 2
queues: {q: {}}
agents:
  - {name: ann, shifts: [{start: 0, end: 600}]}
arrivals:
  - {name: calls, queue: q, rate: 0.02, handle: {constant: 20}}
"""


@pytest.fixture
def scene(tmp_path: Path) -> Callable[[str, str], Path]:
    """The file with one thing written otherwise."""

    def write(before: str, after: str) -> Path:
        assert before in SCENE
        path = tmp_path / "scene.yaml"
        path.write_text(SCENE.replace(before, after))
        return path

    return write


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("arrivals:", "  - {name: ann}\narrivals:", "line 7: agents[1].name: ann stands there twice"),
        ("{name: calls,", "{name: all,", "line 8: arrivals[0].name: all is what"),
        ("rate: 0.02", "rate: .inf", "line 8: arrivals[0].rate: .inf is not a finite number"),
        ("rate: 0.02", "rate: .nan", "line 8: arrivals[0].rate: .nan is not a finite number"),
        ("rate: 0.02", "rate: 1.0e+12", "line 8: arrivals[0]: would be 6e+14 contacts a replication"),
        ("rate: 0.02", "piecewise: [[0, 0.1], [300, 1.0e+9]]", "line 8: arrivals[0]: would be 3e+11 contacts"),
        ("rate: 0.02", "piecewise: []", "line 8: arrivals[0].piecewise: is empty"),
        ("rate: 0.02", "rate: 0", "line 8: arrivals[0].rate: "),
        ("start: 0, end: 600", "start: 10:00, end: 18:00", "line 6: agents[0].shifts[0].start: 10:00 is read as"),
        ("start: 0, end: 600", 'start: "10:00", end: 600', "line 6: agents[0].shifts[0].start: Expected `float`"),
        (
            "{start: 0, end: 600}",
            "{start: 0, end: 300}, {start: 200, end: 600}",
            "line 6: agents[0].shifts[1].start: is before the end",
        ),
        ("constant: 20", "uniform: [30, 20]", "line 8: arrivals[0].handle.uniform: ends before it begins"),
        ("constant: 20", "constant: 20, constant: 30", "line 8: 'constant' stands there twice"),
        ("horizon: 600", "horizon: 2026-12-24", "line 2: horizon: 2026-12-24 is read as a date"),
    ],
)
def test_what_cannot_be_played_is_refused_with_line_and_field(
    scene: Callable[[str, str], Path], before: str, after: str, says: str
) -> None:
    with pytest.raises(Trouble, match=re.escape(says)):
        read_scenario(scene(before, after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rate: 0.02", "rate: 0.0000001"),
        ("rate: 0.02", "times: []"),
        ("rate: 0.02", "piecewise: [[0, 0]]"),
        ("rate: 0.02", "times: [700]"),
        ("horizon: 600", "horizon: 600\nstart_busy: true"),
    ],
)
def test_when_nobody_comes_that_is_the_result(
    scene: Callable[[str, str], Path], tmp_path: Path, before: str, after: str
) -> None:
    report = tmp_path / "out.json"
    path = scene(before, after)

    simulate_scenario(
        path, seed=None, replications=2, json_to=report, plot_to=tmp_path / "out.svg", console=Console(quiet=True)
    )

    figures = json.loads(report.read_text(), parse_constant=_no_constant)["figures"]
    assert figures["calls"]["answered"]["mean"] >= 0 and figures["crew ann"]["fairness"]["mean"] == 1.0


def _no_constant(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def test_who_has_nothing_to_do_beside_a_busy_one_is_told_as_null(
    scene: Callable[[str, str], Path], tmp_path: Path
) -> None:
    report = tmp_path / "out.json"
    path = scene("{name: ann,", "{name: ann, count: 5,")
    path.write_text(path.read_text().replace("rate: 0.02", "times: [1]"))

    simulate_scenario(path, seed=None, replications=3, json_to=report, plot_to=None, console=Console(quiet=True))

    figures = json.loads(report.read_text(), parse_constant=_no_constant)["figures"]
    assert figures["crew ann"]["fairness"]["mean"] is None


@pytest.mark.parametrize("replications", [0, -1, 10_001])
def test_a_number_of_replications_that_cannot_be_is_refused(
    scene: Callable[[str, str], Path], replications: int
) -> None:
    path = scene("rate", "rate")
    with pytest.raises(Trouble, match="--replications must be 1 to 10,000"):
        simulate_scenario(
            path, seed=None, replications=replications, json_to=None, plot_to=None, console=Console(quiet=True)
        )
    with pytest.raises(Trouble, match="--seed must not be negative"):
        simulate_scenario(path, seed=-1, replications=1, json_to=None, plot_to=None, console=Console(quiet=True))


def test_one_replication_has_figures_and_no_interval(scene: Callable[[str, str], Path], tmp_path: Path) -> None:
    report = tmp_path / "out.json"
    path = scene("rate", "rate")

    simulate_scenario(path, seed=1, replications=1, json_to=report, plot_to=None, console=Console(quiet=True))
    compare(path, path, seed=1, replications=1, json_to=tmp_path / "both.json", console=Console(quiet=True))

    assert json.loads(report.read_text(), parse_constant=_no_constant)["figures"]["all"]["asa"]["half_width"] is None
    json.loads((tmp_path / "both.json").read_text(), parse_constant=_no_constant)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.inf], [math.inf, math.inf], [1.0, math.nan]])
def test_a_statistic_of_too_few_or_of_unbounded_values_has_no_interval(values: list[float]) -> None:
    assert figure(values, 0.99).half == math.inf
    if values:
        assert controlled(values, [[0.0] for _ in values], 0.99).half == math.inf


def test_a_share_of_one_replication_has_an_interval() -> None:
    middle, half = rare([3.0], [10.0], 0.99)
    assert 0 < middle - half < 0.3 < middle + half < 1


def test_the_evening_of_the_readme_is_played() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "porchlight", "simulate", "docs/examples/evening.yaml", "--replications", "4"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert (
        "evening: 4 replications" in done.stdout and "crew bilingual" in done.stdout and "Traceback" not in done.stderr
    )
