"""What the router measures before anything has happened."""

import subprocess
import sys


def test_what_an_alert_waits_for_is_there_from_the_start() -> None:
    code = "import router.metrics, prometheus_client; print(prometheus_client.generate_latest().decode())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout

    assert 'router_reigns_ended_total{why="stalled"} 0.0' in told
    assert 'parked_records_total{reader="router"} 0.0' in told
