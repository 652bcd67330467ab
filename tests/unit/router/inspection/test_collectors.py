"""What the router measures before anything has happened."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

from common.testing.clock import ManualClock
from router.inspection.collectors import StateFigures
from tests.support.builders import arrived, asked, seen
from tests.support.table import Table


def test_what_an_alert_waits_for_is_there_from_the_start() -> None:
    code = "import router.metrics, prometheus_client; print(prometheus_client.generate_latest().decode())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout

    assert 'router_reigns_ended_total{why="stalled"} 0.0' in told
    assert 'parked_records_total{reader="router"} 0.0' in told


def test_a_contact_that_rings_still_waits_and_its_wait_goes_on() -> None:
    table = Table()
    table.tell(seen("ann"), arrived("c1", accepted_at_ms=1_000), at_ms=1_000)
    ringing = figures(table, at_ms=9_000)
    table.tell(asked("accept"), at_ms=9_000)

    assert ringing == {"router_waiting_contacts": 1, "router_oldest_wait_seconds": 8.0}
    assert figures(table, at_ms=9_500) == {"router_waiting_contacts": 0, "router_oldest_wait_seconds": 0.0}


def figures(table: Table, *, at_ms: int) -> dict[str, float]:
    shard = SimpleNamespace(state=table.state, is_ready=True, reign=SimpleNamespace(shard=0))
    found = StateFigures({0: cast(Any, shard)}, ManualClock(at_ms)).collect()
    return {
        one.name: one.samples[0].value
        for one in found
        if one.name in ("router_waiting_contacts", "router_oldest_wait_seconds")
    }
