"""The simulator, which runs the router's own core, against queueing theory and against another simulator."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ciw
import msgspec
import pytest

from porchlight.installation import Trouble
from porchlight.simulate.case_files import read_cases
from porchlight_simulator.replications import play_all
from porchlight_simulator.statistics import figure
from porchlight_simulator.validation import exact_cases as built
from porchlight_simulator.validation.families import FAMILIES, trials_of
from porchlight_simulator.validation.judge import as_json, judge
from tests.support import theory

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "cases.json"


def by_theory(case: Mapping[str, Any]) -> dict[str, Any]:
    given = case["inputs"]
    match case["family"]:
        case "erlang_b":
            return {"p_block": theory.erlang_b(given["servers"], given["offered_load"])}
        case "erlang_c":
            return theory.erlang_c_waits(
                given["servers"], given["arrival_rate"], given["service_rate"], given["threshold"]
            )
        case "erlang_a":
            return theory.erlang_a(
                given["servers"], given["arrival_rate"], given["service_rate"], given["abandon_rate"]
            )
        case "mmck":
            return theory.mmck(given["servers"], given["waiting_room"], given["arrival_rate"], given["service_rate"])
        case "cobham_mmc_np":
            rates = given["arrival_rates_high_to_low"]
            return {"mean_waits": theory.priority_waits(given["servers"], rates, given["service_rate"])}
        case "mg1_fcfs":
            mean = given["mean_service"]
            return {"mean_wait": theory.mg1_wait(given["arrival_rate"], mean, mean**2)}
    raise AssertionError(case["family"])


@pytest.mark.parametrize("case", read_cases(EXAMPLES), ids=lambda case: str(case["id"]))
def test_the_cases_of_the_project_say_what_the_formulas_say(case: dict[str, Any]) -> None:
    exact = by_theory(case)

    for name, value in case["outputs"].items():
        assert value == pytest.approx(exact[name], abs=2e-6), name


def test_every_case_of_the_project_is_reproduced_within_its_interval() -> None:
    outcomes = judge(read_cases(EXAMPLES), seed=1, told=lambda _done, _of: None)

    report = json.loads(as_json(outcomes))
    values = [(one.case, value) for one in outcomes for value in one.values]
    missed = [(case, value.name, value.exact, value.low, value.high) for case, value in values if not value.holds]
    assert missed == [] and report["held"] == report["cases"] == len(outcomes)
    widths = sorted((value.high - value.low) / value.exact for _, value in values)
    assert widths[len(widths) // 2] < 0.25 and widths[-1] < 0.8, "intervals so wide would hold anything"


def test_a_wrong_answer_is_found_out() -> None:
    (case,) = [dict(one) for one in read_cases(EXAMPLES) if one["id"] == "waiting"]
    case["outputs"] = {"p_wait": case["outputs"]["p_wait"] * 1.2}

    (outcome,) = judge([case], seed=1, told=lambda _done, _of: None)

    assert not outcome.holds and outcome.runs == 2
    assert outcome.values[0].low < case["outputs"]["p_wait"] / 1.2 < outcome.values[0].high


def pooled_by_ciw(seed: int) -> dict[tuple[str, str], float]:
    """Two classes, one with priority, exponential patience, three agents who can do both."""
    ciw.seed(seed)
    network = ciw.create_network(
        arrival_distributions={"gold": [ciw.dists.Exponential(1.0)], "plain": [ciw.dists.Exponential(2.0)]},
        service_distributions={"gold": [ciw.dists.Exponential(1.0)], "plain": [ciw.dists.Exponential(1.0)]},
        reneging_time_distributions={"gold": [ciw.dists.Exponential(0.5)], "plain": [ciw.dists.Exponential(0.5)]},
        priority_classes={"gold": 0, "plain": 1},
        number_of_servers=[3],
    )
    played = ciw.Simulation(network)
    played.simulate_until_max_time(2_000)
    records = [one for one in played.get_all_records(only=["service", "renege"]) if one.arrival_date > 100]
    found = {}
    for kind in ("gold", "plain"):
        mine = [one for one in records if one.customer_class == kind]
        found[kind, "share_abandoned"] = sum(one.record_type == "renege" for one in mine) / len(mine)
        found[kind, "mean_wait"] = sum(one.waiting_time for one in mine) / len(mine)
    return found


def test_priorities_with_impatience_are_as_in_another_simulator() -> None:
    theirs = [pooled_by_ciw(seed) for seed in range(6)]
    scenario = built.steady(
        queues={"q": msgspec.convert({"offers": {"auto_accept": True}}, built.QueuePolicy)},
        agents=[built.AgentSpec(name="a", count=3)],
        streams=[
            built.Stream(
                name=name,
                queue="q",
                rate=rate,
                priority=priority,
                handle=built.Draw(exponential=1.0),
                patience=built.Draw(exponential=2.0),
            )
            for name, rate, priority in (("gold", 1.0, 1), ("plain", 2.0, 0))
        ],
        bounded=True,
    )
    found = list(play_all([(scenario, number) for number in range(10)]))

    for who, what in theirs[0]:
        mine = figure([row[who][what] for row in found], 0.999)
        other = figure([one[who, what] for one in theirs], 0.999)
        assert abs(mine.mean - other.mean) <= mine.half + other.half, (who, what, mine, other)
        assert mine.half + other.half < 0.5 * mine.mean, "an interval so wide would hold anything"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"family": "tea_leaves"}, "tea_leaves"),
        ({"inputs": {}}, "missing"),
        ({"family": "mg1_fcfs", "inputs": {"arrival_rate": 1, "mean_service": 0.5, "dist": "cauchy"}}, "cauchy"),
    ],
)
def test_a_case_that_nobody_knows_is_refused_by_name(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    content = json.loads(EXAMPLES.read_text())
    content["cases"][0].update(change)
    file = tmp_path / "cases.json"
    file.write_text(json.dumps(content))

    with pytest.raises(Trouble, match=rf"cases\[0\] \(loss\): .*{word}"):
        read_cases(file)


def test_every_family_is_known_by_the_page() -> None:
    page = (EXAMPLES.parents[1] / "simulation.md").read_text()

    assert [name for name in FAMILIES if f"`{name}`" not in page] == []
    assert trials_of(read_cases(EXAMPLES)[0])
