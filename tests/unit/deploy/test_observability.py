"""Rules and dashboards ask only for what the catalogue has, and every alert has a way out that exists."""

from pathlib import Path

import pytest
import yaml

from porchlight_docgen.pages import catalogue
from tests.support.observability import FOLDER, dashboards, metric_names, panels, rules

ROOT = Path(__file__).parents[3]
PROMETHEUS_OWN = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def known() -> set[str]:
    found = set(PROMETHEUS_OWN)
    for metrics in catalogue().values():
        for one in metrics:
            found.add(one.name)
            if one.kind == "histogram":
                found |= {one.name + end for end in ("_bucket", "_sum", "_count")}
    return found | {rule["record"] for rule in rules() if "record" in rule}


def test_every_query_asks_for_metrics_of_the_catalogue() -> None:
    asked = panels() + [(str(rule.get("alert") or rule.get("record")), rule["expr"]) for rule in rules()]
    there = known()
    unknown = [(where, name) for where, expression in asked for name in metric_names(expression) if name not in there]
    assert unknown == []
    assert all(metric_names(expression) for _, expression in asked)


def test_a_query_for_something_else_would_be_noticed() -> None:
    assert metric_names('sum by (queue) (rate(no_such_metric_total{a="b"}[5m])) > 0') == {"no_such_metric_total"}
    assert "no_such_metric_total" not in known()


@pytest.mark.parametrize("rule", [rule for rule in rules() if "alert" in rule], ids=lambda rule: rule["alert"])
def test_every_alert_has_a_summary_and_a_runbook_that_exists(rule: dict) -> None:  # type: ignore[type-arg]
    notes = rule["annotations"]
    page, _, section = notes["runbook_url"].partition("#")
    headings = [line[3:].strip().lower() for line in (ROOT / page).read_text().splitlines() if line.startswith("## ")]
    assert notes["summary"] and section == rule["alert"].lower() and section in headings
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_alert_is_tried_firing_and_not_firing() -> None:
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    tried = [{one["alertname"]: bool(one.get("exp_alerts")) for one in test["alert_rule_test"]} for test in tests]
    assert [set(one) for one in tried] == [alerts, alerts]
    assert set(tried[0].values()) == {False} and set(tried[1].values()) == {True}


def test_dashboards_have_what_grafana_needs() -> None:
    found = dashboards()
    assert len(found) == 4
    for name, board in found.items():
        assert board["uid"] == name.removesuffix(".json") and board["title"] and board["schemaVersion"] >= 36
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        for panel in board["panels"]:
            assert panel["type"] == "timeseries" and panel["datasource"]["uid"] == "porchlight"
            assert panel["title"] and panel["description"] and panel["targets"]
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24 and place["h"] > 0
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
