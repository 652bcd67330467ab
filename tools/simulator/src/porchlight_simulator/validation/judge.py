"""Whether the simulator reproduces a file of cases: each value beside its estimate and the interval that must hold it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any
from zlib import crc32

from porchlight_simulator.replications import play_all
from porchlight_simulator.scenario import Scenario
from porchlight_simulator.statistics import Row, controlled, rare
from porchlight_simulator.validation.exact_cases import Check, Trial
from porchlight_simulator.validation.families import trials_of

LEVEL = 0.99
"""Of the interval that holds all values of a case together (Bonferroni: each value's own interval is wider)."""
Z95 = 1.959963984540054
AGAIN = 4
"""A case outside its interval is run once more, so many times as long, under another seed."""
DIGITS = 1e-6
"""References are printed with so many digits; half of the last one is theirs."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One value of a case."""

    name: str
    exact: float
    reference_half_width_95: float
    estimate: float
    low: float
    high: float
    holds: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case. `runs`: 1, or 2 when it had to be run again. `contacts`: measured ones of the run that counts."""

    case: str
    family: str
    holds: bool
    runs: int
    contacts: int
    seed: int
    values: tuple[Judged, ...]


def judge(cases: Sequence[Mapping[str, Any]], *, seed: int, told: Callable[[int, int], None]) -> list[Outcome]:
    """Run every case; those that do not hold once more. `told` hears how many replications are done, of how many."""
    outcomes = {case_id(case): outcome for case, outcome in zip(cases, _run(cases, seed, 1, told), strict=True)}
    doubtful = [case for case in cases if not outcomes[case_id(case)].holds]
    if doubtful:
        for outcome in _run(doubtful, seed + 1, AGAIN, told):
            outcomes[outcome.case] = outcome
    return [outcomes[case_id(case)] for case in cases]


def as_json(outcomes: Sequence[Outcome]) -> str:
    """The report, for programs."""
    held = sum(one.holds for one in outcomes)
    body = {"level": LEVEL, "cases": len(outcomes), "held": held, "outcomes": [asdict(one) for one in outcomes]}
    return json.dumps(body, indent=1) + "\n"


def _run(cases: Sequence[Mapping[str, Any]], seed: int, times: int, told: Callable[[int, int], None]) -> list[Outcome]:
    plans = [[_longer(trial, _seed(case, seed), times) for trial in trials_of(case)] for case in cases]
    jobs = [
        (trial.scenario, number) for plan in plans for trial in plan for number in range(trial.scenario.replications)
    ]
    found: list[dict[str, Row]] = []
    for rows in play_all(jobs):
        found.append(rows)
        told(len(found), len(jobs))
    outcomes, at = [], 0
    for case, plan in zip(cases, plans, strict=True):
        judged: list[Judged] = []
        contacts = 0
        number_of_checks = sum(len(trial.checks) for trial in plan)
        for trial in plan:
            mine = found[at : at + trial.scenario.replications]
            at += trial.scenario.replications
            contacts += round(sum(rows["all"]["arrived"] for rows in mine))
            judged += [_judge(trial, check, mine, number_of_checks) for check in trial.checks]
        outcomes.append(
            Outcome(
                case=case_id(case),
                family=str(case["family"]),
                holds=all(one.holds for one in judged),
                runs=1 if times == 1 else 2,
                contacts=contacts,
                seed=seed,
                values=tuple(judged),
            )
        )
    return outcomes


def _seed(case: Mapping[str, Any], seed: int) -> int:
    """Every case has draws of its own."""
    return seed << 32 | crc32(case_id(case).encode())


def _longer(trial: Trial, seed: int, times: int) -> Trial:
    changes: dict[str, Any] = {"seed": seed}
    if trial.scenario.contacts is None:
        changes["replications"] = trial.scenario.replications * times
    else:
        changes["contacts"] = trial.scenario.contacts * times
    values = {name: getattr(trial.scenario, name) for name in trial.scenario.__struct_fields__}
    return Trial(Scenario(**{**values, **changes}), trial.checks)


def _judge(trial: Trial, check: Check, found: Sequence[dict[str, Row]], checks: int) -> Judged:
    level = 1 - (1 - LEVEL) / checks
    controls = [trial.controls(rows) for rows in found]
    estimate = controlled([check.measure(rows) for rows in found], controls, level)
    reference = check.half95 * NormalDist().inv_cdf((1 + level) / 2) / Z95
    mean, half = estimate.mean, estimate.half
    if check.counted is not None:
        name, factor = check.counted
        middle, wide = rare([rows["all"][name] for rows in found], [rows["all"]["arrived"] for rows in found], level)
        if half < wide * factor:
            mean, half = middle * factor, wide * factor
    half = (half**2 + reference**2) ** 0.5 + DIGITS / 2 * max(1.0, abs(check.exact))
    low, high = mean - half, mean + half
    return Judged(
        name=check.name,
        exact=check.exact,
        reference_half_width_95=check.half95,
        estimate=estimate.mean,
        low=low,
        high=high,
        holds=low <= check.exact <= high,
    )


def case_id(case: Mapping[str, Any]) -> str:
    return str(case.get("id", "?")) if isinstance(case, dict) else "?"
