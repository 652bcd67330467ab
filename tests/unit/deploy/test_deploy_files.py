"""What we deploy, read by others' eyes: schemas and parsers always, promtool and Docker Compose where they are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from jsonschema import Draft202012Validator

from tests.support import deploy_tools
from tests.support.observability import dashboards, panels, rules

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE = Draft202012Validator(get_builtin_schema("vendor.compose-spec"))
EXPRESSIONS = panels() + [(str(rule.get("alert") or rule["record"]), rule["expr"]) for rule in rules()]


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cluster.yaml"])
def test_a_compose_file_fits_the_specifications_schema(name: str) -> None:
    COMPOSE.validate(yaml.safe_load((DEPLOY / name).read_text()))


def test_a_compose_file_with_a_misspelt_word_does_not() -> None:
    wrong = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    wrong["services"]["intake"]["depend_on"] = {}
    assert not COMPOSE.is_valid(wrong)


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Where `kept` lacks what was given, or has it otherwise."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from lost(value, kept[key], f"{path}/{key}") if key in kept else iter([f"{path}/{key}"])
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif given != kept:
        yield f"{path}: {given!r} became {kept!r}"


def misunderstood(board: dict[str, Any]) -> list[str]:
    """What Grafana's own model of a dashboard does not know or takes otherwise."""
    register_default_plugins()
    return list(lost(board, json.loads(JSONEncoder().encode(Dashboard.from_json(board)))))


@pytest.mark.parametrize("name", sorted(dashboards()))
def test_grafanas_own_model_takes_a_dashboard_as_it_is(name: str) -> None:
    assert misunderstood(dashboards()[name]) == []


@pytest.mark.parametrize(
    "where", [(), ("panels", 0), ("panels", 0, "fieldConfig"), ("panels", 0, "targets", 0)], ids=str
)
def test_a_word_that_grafana_does_not_know_is_found(where: tuple[str | int, ...]) -> None:
    board = json.loads(json.dumps(dashboards()["flow.json"]))
    place = board
    for step in where:
        place = place[step]
    place["tittle"] = "x"
    assert misunderstood(board) == ["".join(f"/{step}" for step in where) + "/tittle"]


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_every_query_of_rules_and_panels_parses(where: str, expression: str) -> None:
    promql_parser.parse(expression)


def test_a_query_that_cannot_be_read_is_found() -> None:
    with pytest.raises(ValueError):
        promql_parser.parse("sum by (queue) (rate(contacts_total[5m])")


@pytest.mark.parametrize(("name", "words"), deploy_tools.checks(), ids=lambda value: str(value))
def test_the_tool_finds_nothing_wrong(name: str, words: tuple[str, ...]) -> None:
    done = deploy_tools.run(name, words)
    assert done.returncode == 0, done.stdout + done.stderr
