"""Scenario files, draws and one replication: what the simulator promises besides its figures."""

import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
import pytest
import yaml

from common.contracts.policies import Condition, Offers, Overflow, QueuePolicy
from porchlight.installation import Trouble
from porchlight.simulate.command import compare
from porchlight.simulate.scenario_files import read_scenario
from porchlight_simulator.distributions import arrival_times, draws, generator
from porchlight_simulator.replications import play, play_all
from porchlight_simulator.scenario import AgentSpec, Draw, Outage, QueueSpec, Retry, Scenario, Shift, Stream
from porchlight_simulator.statistics import figure, rows, student
from porchlight_simulator.world import World

ROOT = Path(__file__).parents[4]
EVENING = ROOT / "docs" / "examples" / "evening.yaml"
AT_ONCE = QueuePolicy(offers=Offers(auto_accept=True))


def scenario(**changes: Any) -> Scenario:
    values: dict[str, Any] = {
        "queues": {"q": QueueSpec(policy=AT_ONCE)},
        "agents": (AgentSpec(name="a", count=2),),
        "arrivals": (Stream(name="x", queue="q", times=(1.0, 2.0, 3.0), handle=Draw(constant=10.0)),),
        "horizon": 100.0,
    }
    return Scenario(**{**values, **changes})


def test_the_smallest_world_is_played_as_anybody_would_by_hand() -> None:
    found = play((scenario(), 0))

    assert found["all"]["arrived"] == 3
    assert found["all"]["asa"] == pytest.approx(8 / 3)  # the third comes at 3 and is answered at 11
    assert found["all"]["occupancy"] == pytest.approx(30 / 200)
    assert found["all"]["mean_queue"] == pytest.approx(8 / 100)


def test_patience_retries_and_lost_contacts_are_counted_once() -> None:
    patient = Stream(
        name="x",
        queue="q",
        times=(1.0, 2.0, 3.0),
        handle=Draw(constant=10.0),
        patience=Draw(constant=4.0),
        retry=Retry(share=1.0, after=50.0),
    )
    found = play((scenario(arrivals=(patient,)), 0))
    assert (found["x"]["arrived"], found["x"]["abandoned"], found["x"]["retried"]) == (4, 1, 1)
    assert found["x"]["answered"] == 3 and found["x"]["mean_wait_abandoned"] == 4.0

    loss = QueuePolicy(
        offers=Offers(auto_accept=True), overflow=(Overflow(when=Condition(all_busy=True), message="busy"),)
    )
    lost = play((scenario(queues={"q": QueueSpec(policy=loss)}), 0))
    assert (lost["x"]["arrived"], lost["x"]["blocked"]) == (3, 1)


def test_agents_are_there_in_their_shifts_and_lose_their_lines() -> None:
    late = AgentSpec(name="a", shifts=(Shift(start=20.0, end=90.0),))
    assert play((scenario(agents=(late,)), 0))["x"]["asa"] == pytest.approx((19 + 28 + 37) / 3)

    shaky = AgentSpec(name="a", count=3, outages=Outage(every=5.0, lasts=2.0))
    assert play((scenario(agents=(shaky,)), 0))["all"]["lost_lines"] > 10


def test_agents_who_answer_late_are_waited_for_and_a_missed_offer_goes_on() -> None:
    slow = AgentSpec(name="a", count=1, answers_after=Draw(constant=3.0))
    queue = QueueSpec(policy=QueuePolicy())

    found = play((scenario(queues={"q": queue}, agents=(slow,)), 0))
    assert found["x"]["asa"] == pytest.approx((3 + 15 + 27) / 3)


def test_the_same_seed_gives_the_same_figures_under_any_hash_seed_and_number_of_cores() -> None:
    program = (
        "import hashlib, sys\n"
        "from pathlib import Path\n"
        "from porchlight.simulate.scenario_files import read_scenario\n"
        "from porchlight_simulator.replications import play\n"
        "print(hashlib.sha256(repr(play((read_scenario(Path(sys.argv[1])), 3))).encode()).hexdigest())\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program, str(EVENING)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "77", "random")
    }
    evening = read_scenario(EVENING)

    assert len(told) == 1
    assert list(play_all([(evening, 0), (evening, 1)])) == [play((evening, 0)), play((evening, 1))]
    assert play((msgspec.structs.replace(evening, seed=8), 0)) != play((evening, 0))


@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (Draw(exponential=3.0), 3.0),
        (Draw(lognormal=(5.0, 0.9)), 5.0),
        (Draw(uniform=(2.0, 6.0)), 4.0),
        (Draw(erlang=(3, 6.0)), 6.0),
        (Draw(constant=7.0), 7.0),
        (Draw(values=(1.0, 2.0, 6.0)), 3.0),
    ],
)
def test_draws_have_the_mean_that_is_asked_for(draw: Draw, mean: float) -> None:
    assert fmean(islice(draws(draw, generator(1, 2)), 90_000)) == pytest.approx(mean, rel=0.02)


def test_piecewise_arrivals_follow_their_rates() -> None:
    stream = Stream(name="x", queue="q", piecewise=((0, 10.0), (100, 40.0), (200, 0.0)), handle=Draw(constant=1.0))

    times = list(arrival_times(stream, generator(3, 4)))
    early = sum(at < 100 for at in times)
    assert times == sorted(times) and times[-1] < 200
    assert early == pytest.approx(1_000, rel=0.15) and len(times) - early == pytest.approx(4_000, rel=0.1)


def test_students_quantile_is_the_tables() -> None:
    # https://en.wikipedia.org/wiki/Student%27s_t-distribution lists 2.2622 (95 %, 9), 2.8609 (99 %, 19), 3.1737 (99.5 %, 19)
    assert student(0.95, 9) == pytest.approx(2.2622, abs=1e-3)
    assert student(0.99, 19) == pytest.approx(2.8609, abs=1e-3)
    assert student(0.995, 19) == pytest.approx(3.1737, abs=1e-3)
    assert figure([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0], 0.95).half == pytest.approx(2.166, abs=0.01)


def broken(change: dict[str, Any]) -> str:
    raw = yaml.safe_load(EVENING.read_text())
    for path, value in change.items():
        *way, last = re.findall(r"[\w-]+", path)
        place = raw
        for part in way:
            place = place[int(part) if part.isdigit() else part]
        place[int(last) if last.isdigit() else last] = value
    return yaml.safe_dump(raw, sort_keys=False)


@pytest.mark.parametrize(
    ("change", "field", "reason", "line"),
    [
        ({"queues.billing.policy": {"length_max": 0}}, "queues.billing.policy.length_max", "zero", "length_max: 0"),
        ({"queues.billing.policy": {"lenght_max": 5}}, "queues.billing.policy", "lenght_max", "lenght_max: 5"),
        (
            {"queues.spanish.policy": {"order": {"method": "luck"}}},
            "queues.spanish.policy.order.method",
            "enum",
            "luck",
        ),
        ({"arrivals[0].queue": "sales"}, "arrivals[0].queue", "no queue sales", "queue: sales"),
        ({"arrivals[1].handle": {}}, "arrivals[1].handle", "exactly one", "handle: {}"),
        ({"arrivals[1].rate": -1}, "arrivals[1].rate", "> 0", "rate: -1"),
        ({"arrivals[1].times": [1]}, "arrivals[1]", "rate and times", "name: hispanohablantes"),
        ({"agents[0].shifts": [{"start": 9, "end": 3}]}, "agents[0].shifts[0].end", "not after", "end: 3"),
        ({"contacts": 100}, "file", "either horizon", "name: evening"),
        ({"agents": []}, "agents", "somebody", "agents: []"),
    ],
)
def test_a_scenario_that_cannot_be_played_names_line_and_field(
    tmp_path: Path, change: dict[str, Any], field: str, reason: str, line: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(broken(change))

    with pytest.raises(Trouble) as trouble:
        read_scenario(file)

    text = str(trouble.value)
    assert f": {field}: " in text and reason in text
    number = int(re.search(r"line (\d+)", text)[1])  # type: ignore[index]
    assert line in file.read_text().splitlines()[number - 1]


def test_yaml_that_is_none_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: x\nqueues: [unclosed\n")

    with pytest.raises(Trouble, match=r"bad\.yaml, line 3"):
        read_scenario(file)


def test_two_policies_are_compared_on_the_same_random_numbers(tmp_path: Path) -> None:
    from rich.console import Console

    other = ROOT / "docs" / "examples" / "evening-without-step.yaml"
    report = tmp_path / "out.json"
    compare(EVENING, EVENING, seed=5, replications=3, json_to=report, console=Console(quiet=True))
    same = msgspec.json.decode(report.read_bytes())
    assert {one["mean"] for one in same.values()} == {0.0}

    compare(EVENING, other, seed=5, replications=3, json_to=report, console=Console(quiet=True))
    assert any(one["mean"] != 0 for one in msgspec.json.decode(report.read_bytes()).values())


def test_figures_of_a_replication_name_every_stream_and_crew() -> None:
    one = scenario()

    assert set(rows(one, World(one, 0).run())) == {"all", "x", "crew a"}
