"""Marks each test by its folder, keeps sockets out of unit and model tests, and provides real servers."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.platforms import RunningPlatform, started
from tests.support.servers import Servers, provide

ROOT = Path(__file__).parent
OUR_PREFIXES = ("INTAKE_", "ROUTER_", "AGENT_PRESENCE_", "REPORTING_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(item.path.relative_to(ROOT).parts[0])


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(OUR_PREFIXES) or name == "PORCHLIGHT_HOME":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_sockets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not {"unit", "model"} & {mark.name for mark in request.node.iter_markers()}:
        return

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("unit and model tests open no connection; this belongs to tests/integration")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Real PostgreSQL and Kafka; where they come from is printed once."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{line}")

    with provide(say) as found:
        yield found


@pytest.fixture(scope="session")
def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """Every process, two of each service, on the session's servers."""
    home = tmp_path_factory.mktemp("platform")
    environment = {
        "PORCHLIGHT_DATABASE_URL": servers.admin_dsn,
        "PORCHLIGHT_KAFKA_BOOTSTRAP": servers.bootstrap,
        "ROUTER_SCORERS": "favourite=tests.support.scorers:favourite",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT.parent), os.environ.get("PYTHONPATH", "")])),
    }
    with started(home, environment=environment, intake=2, router=2, presence=2, reporting=2) as found:
        yield found
