"""The committed rules and dashboards, as tests look at them."""

import json
import re
from typing import Any

import yaml

from tests.support.deployment import DEPLOY

FOLDER = DEPLOY / "observability"
WORDS = re.compile(r"[a-z_:]+[a-z0-9_:]*")
NOT_METRICS = {"sum", "by", "rate", "increase", "histogram_quantile", "max", "min", "count", "or", "and", "on", "le"}


def rules() -> list[dict[str, Any]]:
    """All recording and alert rules."""
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboards() -> dict[str, dict[str, Any]]:
    """Each dashboard by its file's name."""
    return {path.name: json.loads(path.read_text()) for path in sorted((FOLDER / "dashboards").glob("*.json"))}


def panels() -> list[tuple[str, str]]:
    """Where it stands and the expression, for every target of every panel."""
    return [
        (f"{name}: {panel['title']}", target["expr"])
        for name, dashboard in dashboards().items()
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]


def metric_names(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    bare = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"|\b(?:by|on|without|ignoring)\s*\([^)]*\)', " ", expression)
    return {word for word in WORDS.findall(bare) if word not in NOT_METRICS}
