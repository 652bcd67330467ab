"""From replications to figures: means over replications, and how far they may be from the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from statistics import NormalDist, fmean, stdev

import numpy as np

from porchlight_simulator.counters import Kind, Tally
from porchlight_simulator.scenario import Scenario

Row = dict[str, float]
FREEDOM_MIN = 9
"""With fewer degrees of freedom than this, controls would cost more than they explain."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean of independent replications. `half` is half the width of its interval at `level`."""

    mean: float
    half: float
    level: float
    values: tuple[float, ...]


def figure(values: Sequence[float], level: float) -> Figure:
    """Student's interval of the mean of independent values. Of fewer than two, or of a value without bounds, it has none."""
    if len(values) < 2 or not all(isfinite(value) for value in values):
        return Figure(mean=fmean(values) if values else 0.0, half=inf, level=level, values=tuple(values))
    half = student(level, len(values) - 1) * stdev(values) / sqrt(len(values))
    return Figure(mean=fmean(values), half=half, level=level, values=tuple(values))


def controlled(values: Sequence[float], controls: Sequence[Sequence[float]], level: float) -> Figure:
    """The mean as it would be if the controls, whose true means are zero, had been zero: a linear regression on them.

    A lucky draw of many arrivals or long conversations explains much of a long wait; what it explains is taken out
    (Lavenberg and Welch 1981). `controls`: for each value its controls.
    """
    kept = [column for column in zip(*controls, strict=True) if max(column) > min(column)]
    freedom = len(values) - len(kept) - 1
    plain = figure(values, level)
    if not kept or freedom < FREEDOM_MIN or min(values) == max(values) or not isfinite(plain.half):
        return plain
    design = np.column_stack([np.ones(len(values)), *kept])
    inverse = np.linalg.pinv(design.T @ design)
    weights = inverse @ design.T @ np.asarray(values)
    rest = np.asarray(values) - design @ weights
    error = sqrt(float(rest @ rest) / freedom * float(inverse[0, 0]))
    return Figure(mean=float(weights[0]), half=student(level, freedom) * error, level=level, values=tuple(values))


def rare(events: Sequence[float], trials: Sequence[float], level: float) -> tuple[float, float]:
    """Middle and half width of a score interval (Wilson 1927) for a share, with events that come in clumps: their number
    over the replications varies by more than chance would have it, and counts for less by as much.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    total, every = sum(events), sum(trials)
    clump = max(1.0, stdev(events) ** 2 / fmean(events)) if total and len(events) > 1 else 1.0
    weight = z**2 * clump
    middle = (total + weight / 2) / (every + weight)
    half = sqrt(weight * (total * (1 - total / every) + weight / 4)) / (every + weight)
    return middle, half


def student(level: float, freedom: int) -> float:
    """The two-sided quantile of Student's t: the series of Abramowitz and Stegun 26.7.5, good to 1e-3 from 9 degrees on."""
    x = NormalDist().inv_cdf((1 + level) / 2)
    n = freedom
    return (
        x
        + (x**3 + x) / (4 * n)
        + (5 * x**5 + 16 * x**3 + 3 * x) / (96 * n**2)
        + (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / (384 * n**3)
        + (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / (92_160 * n**4)
    )


def rows(scenario: Scenario, tally: Tally) -> dict[str, Row]:
    """The figures of one replication: `all`, each stream by its name, each crew as `crew NAME`."""
    found = {name: of_kind(kind, scenario.threshold, tally.span) for name, kind in tally.kinds.items()}
    found["all"] = of_kind(_together(list(tally.kinds.values())), scenario.threshold, tally.span)
    span = tally.span * tally.ticks or 1.0
    found["all"]["lost_lines"] = tally.lost_lines
    busy, there = 0.0, 0
    for name, crew in tally.crews.items():
        by_agent = [each / span for each in crew.by_agent]
        mean, squared = crew.area / span, crew.area_squared / span
        found[f"crew {name}"] = {
            "busy": mean,
            "busy_variance": squared - mean**2,
            "occupancy": mean / crew.count,
            "fairness": _fairness(by_agent),
        }
        busy += mean
        there += crew.count
    found["all"]["occupancy"] = busy / there
    found["all"]["busy"] = busy
    return found


def _fairness(by_agent: Sequence[float]) -> float:
    """How much busier the busiest is than the least busy: without bounds when only some had work, 1 when nobody had."""
    if max(by_agent) == 0:
        return 1.0
    return max(by_agent) / min(by_agent) if min(by_agent) > 0 else inf


def of_kind(kind: Kind, threshold: float, span: float) -> Row:
    """Figures of contacts. Service level: answered within the threshold, of all that were not blocked."""
    answered, left = len(kind.waits), len(kind.given_up)
    entered = answered + left
    waits = np.asarray(kind.waits) if answered else np.zeros(1)
    gone = np.asarray(kind.given_up) if left else np.zeros(1)
    waited = int((waits > 0).sum()) if answered else 0
    in_time = int((waits <= threshold).sum()) if answered else 0
    total = float(waits.sum() + (gone.sum() if left else 0.0))
    return {
        "arrived": kind.arrived,
        "answered": answered,
        "abandoned": left,
        "blocked": kind.blocked,
        "retried": kind.retried,
        "in_target": in_time,
        "share_blocked": kind.blocked / kind.arrived if kind.arrived else 0.0,
        "share_waiting": (waited + left) / entered if entered else 0.0,
        "share_abandoned": left / entered if entered else 0.0,
        "service_level": in_time / entered if entered else 0.0,
        "service_level_of_answered": in_time / answered if answered else 0.0,
        "service_level_with_lost": (in_time + int((gone <= threshold).sum()) * bool(left)) / entered
        if entered
        else 0.0,
        "abandoned_in_time": int((gone <= threshold).sum()) / entered if left else 0.0,
        "asa": float(waits.mean()),
        "mean_wait": total / entered if entered else 0.0,
        "mean_wait_if_waiting": float(waits.sum()) / waited if waited else 0.0,
        "mean_wait_abandoned": float(gone.mean()) if left else 0.0,
        "p90_wait": float(np.quantile(waits, 0.9)),
        "mean_queue": total / span if span else 0.0,
        "handled": kind.handled / span if span else 0.0,
        "arrival_rate": kind.arrived / span if span else 0.0,
        "mean_drawn": kind.drawn / kind.arrived if kind.arrived else 0.0,
    }


def _together(kinds: Sequence[Kind]) -> Kind:
    whole = Kind()
    for kind in kinds:
        whole.arrived += kind.arrived
        whole.blocked += kind.blocked
        whole.retried += kind.retried
        whole.waits += kind.waits
        whole.given_up += kind.given_up
        whole.handled += kind.handled
        whole.drawn += kind.drawn
    return whole


def summary(found: Sequence[dict[str, Row]], level: float) -> dict[str, dict[str, Figure]]:
    """Every figure over the replications."""
    return {who: {name: figure([row[who][name] for row in found], level) for name in found[0][who]} for who in found[0]}
