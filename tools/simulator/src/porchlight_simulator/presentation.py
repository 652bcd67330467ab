"""Figures as a table, as JSON, and as pictures."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from porchlight_simulator.scenario import Scenario
from porchlight_simulator.statistics import Figure, Row

Summary = dict[str, dict[str, Figure]]
SHOWN = {
    "service_level": "service level",
    "asa": "ASA",
    "mean_wait": "mean wait",
    "p90_wait": "p90 wait",
    "share_abandoned": "abandoned",
    "share_blocked": "blocked",
    "occupancy": "occupancy",
    "fairness": "fairness (busiest to least busy)",
    "lost_lines": "lost lines",
}
"""Figures that people look at first."""
CREWS_SHOWN_MAX = 12
"""With more crews than this only contacts are shown; the JSON has all."""
PICTURES = (".png", ".svg")


def table(scenario: Scenario, found: Summary) -> Table:
    """Means and the half widths of their intervals."""
    level = next(iter(found["all"].values())).level
    shown = Table(title=f"{scenario.name}: {scenario.replications} replications, ± at {level:.0%}, in {scenario.unit}")
    shown.add_column("")
    for label in SHOWN.values():
        shown.add_column(label, justify="right")
    crews = sum(who.startswith("crew ") for who in found)
    for who, row in found.items():
        if who.startswith("crew ") and crews > CREWS_SHOWN_MAX:
            continue
        if any(name in row for name in SHOWN):
            shown.add_row(who, *(_cell(row.get(name)) for name in SHOWN))
    return shown


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    mean = f"{figure.mean:.4g}" if math.isfinite(figure.mean) else "∞"
    return f"{mean} ± {figure.half:.2g}" if math.isfinite(figure.half) else mean


def as_json(scenario: Scenario, found: Summary) -> str:
    """Everything, for programs; null is what has no bounds. The same scenario and seed give the same text."""
    body = {
        "name": scenario.name,
        "seed": scenario.seed,
        "replications": scenario.replications,
        "unit": scenario.unit,
        "figures": {
            who: {
                name: {"mean": _number(one.mean), "half_width": _number(one.half), "level": one.level}
                for name, one in row.items()
            }
            for who, row in found.items()
        },
    }
    return json.dumps(body, indent=1, sort_keys=True) + "\n"


def _number(value: float) -> float | None:
    """JSON has no word for what has no bounds."""
    return value if math.isfinite(value) else None


def plot(path: Path, scenario: Scenario, rows: Sequence[dict[str, Row]]) -> None:
    """Four pictures on one sheet: service level, waits, abandonment and occupancy over the replications."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "porchlight"
    from matplotlib import pyplot

    sheet, axes = pyplot.subplots(2, 2, figsize=(9, 6), layout="constrained")
    streams = [one.name for one in scenario.arrivals]
    for axis, name, title in zip(
        axes.flat,
        ("service_level", "asa", "share_abandoned", "occupancy"),
        ("service level", f"ASA ({scenario.unit})", "share abandoned", "occupancy"),
        strict=True,
    ):
        whom = [f"crew {one.name}" for one in scenario.agents] if name == "occupancy" else [*streams, "all"]
        whom = whom[:12]  # more would not be legible
        axis.boxplot(
            [[row[who][name] for row in rows if math.isfinite(row[who][name])] for who in whom], tick_labels=whom
        )
        axis.set_title(title)
        axis.tick_params(axis="x", rotation=30)
    sheet.suptitle(f"{scenario.name}: {len(rows)} replications, seed {scenario.seed}")
    sheet.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(sheet)
