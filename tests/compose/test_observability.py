"""Every query of every rule and panel, against a live Prometheus while contacts flow."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.support.deployment import DEPLOY, Deployment
from tests.support.observability import metric_names, panels, rules

pytestmark = pytest.mark.timeout(600)
FLOW_S = 75.0
"""Two scrapes of every window and some contacts of every kind."""


class Prometheus:
    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, path: str, **given: str) -> Any:
        answer = httpx.get(f"{self._url}/{path}", params=given, timeout=20).json()
        assert answer["status"] == "success", f"{given}: {answer}"
        return answer["data"]

    def series(self, expression: str) -> list[Any]:
        return list(self.ask("query", query=expression)["result"])


@pytest.fixture(scope="module")
def prometheus(deployment: Deployment) -> Iterator[Prometheus]:
    deployment.compose("--profile", "observability", "up", "-d", "prometheus")
    with deployment.playing("demo") as demo:
        time.sleep(FLOW_S)
        assert demo.poll() is None, "the demo must play"
        yield Prometheus(deployment.prometheus_port)
    deployment.compose("rm", "-fs", "prometheus")


def test_every_replica_is_found(prometheus: Prometheus) -> None:
    up = {
        row["metric"]["service"]: row["value"][1]
        for row in prometheus.series('sum by (service) (up{job="porchlight"})')
    }
    assert up == {"intake": "1", "router": "2", "agent-presence": "1", "reporting": "1"}


def test_every_panel_and_every_recording_rule_gives_series(prometheus: Prometheus) -> None:
    asked = [expression for _, expression in panels()] + [rule["expr"] for rule in rules() if "record" in rule]
    asked += [rule["record"] for rule in rules() if "record" in rule]
    empty = [expression for expression in asked if not prometheus.series(expression)]
    assert len(asked) > 40
    assert empty == []


def test_every_alert_parses_and_asks_for_what_is_there_and_none_fires(prometheus: Prometheus) -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    for rule in alerts:
        prometheus.series(rule["expr"])
        for name in metric_names(rule["expr"]):
            assert prometheus.series(name), f"{rule['alert']}: there is no {name}"
    firing = [one["labels"]["alertname"] for one in prometheus.ask("alerts")["alerts"] if one["state"] == "firing"]
    assert firing == []


def test_the_rules_that_prometheus_has_are_the_committed_ones(prometheus: Prometheus) -> None:
    loaded = {rule["name"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"]}
    committed = yaml.safe_load((DEPLOY / "observability" / "rules.yml").read_text())
    assert loaded == {rule.get("alert") or rule["record"] for group in committed["groups"] for rule in group["rules"]}
    assert json.dumps(committed)
