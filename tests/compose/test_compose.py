"""`make up` on a fresh machine: healthy, closed, hardened, and one contact goes all the way."""

import time
from pathlib import Path

import httpx
import pytest

from tests.support.deployment import Deployment, deployed

pytestmark = pytest.mark.timeout(900)
SERVICES = ("intake", "router", "agent-presence", "reporting")


def test_everything_is_healthy_within_a_minute_of_a_fresh_start(images: None, tmp_path: Path) -> None:
    with deployed("porchlight-fresh", tmp_path) as fresh:
        began = time.monotonic()
        said = fresh.up()
        took = time.monotonic() - began

        assert took < 60, f"{took:.0f} s"
        assert fresh.url in said
        assert {one["State"]["Health"]["Status"] for one in fresh.containers() if one["State"]["Running"]} == {
            "healthy"
        }
        passwords = [path.read_text() for path in (tmp_path / "secrets").glob("*-password")]
        assert len(passwords) == 12 and len(set(passwords)) == 12, "a password of its own for every role"


def test_one_contact_goes_all_the_way_through_the_gateway(deployment: Deployment) -> None:
    said = deployment.tools("try")

    assert "completed" in said and "offer.accepted" in said


def test_only_the_gateways_port_is_published(deployment: Deployment) -> None:
    published = {
        one["Config"]["Labels"]["com.docker.compose.service"]
        for one in deployment.containers()
        if any((one["NetworkSettings"]["Ports"] or {}).values())
    }
    assert published == {"gateway"}


def test_services_run_as_nobody_special_on_a_read_only_root(deployment: Deployment) -> None:
    for service in SERVICES:
        found = deployment.container(service)
        assert found["Config"]["User"] == "10001:10001"
        assert found["HostConfig"]["ReadonlyRootfs"] and found["HostConfig"]["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in found["HostConfig"]["SecurityOpt"]
        assert found["HostConfig"]["Memory"] > 0 and found["HostConfig"]["PidsLimit"] > 0
        environment = " ".join(found["Config"]["Env"])
        for secret in (deployment.state / "secrets").iterdir():
            assert secret.read_text().strip() not in environment, f"{secret.name} is in the environment of {service}"


def test_what_the_gateway_refuses_is_a_problem_with_a_way_out(deployment: Deployment) -> None:
    status, body = deployment.get("/no/such/path")
    assert status == 404 and "urn:porchlight:problem:not-found" in body
    status, _ = deployment.get("/metrics")
    assert status == 404, "figures are for the inside"


def test_kafka_is_reached_by_its_users_alone_and_from_its_own_network(deployment: Deployment) -> None:
    code = (
        "import asyncio, os; from common.runtime.bus import Outgoing; from common.runtime.failures import Retryable\n"
        "from common.runtime.kafka import *\n"
        "async def written(topic, security):\n"
        " publisher = KafkaPublisher('kafka:9094', name='x', security=security)\n"
        " record = Outgoing(topic=topic, partition=0, key='k', headers=(), value=b'')\n"
        " try:\n  await publisher.publish([record]); return True\n"
        " except Retryable:\n  return False\n"
        " finally:\n  await publisher.close()\n"
        "async def work():\n"
        " password = open('/run/secrets/intake_kafka_password').read()\n"
        " intake = Security(username='intake', password=password, mechanism='SCRAM-SHA-512')\n"
        " print('nobody', await written('routing.v1', OPEN), 'intake', await written('routing.v1', intake))\n"
        "asyncio.run(work())"
    )
    said = deployment.compose("exec", "-T", "intake", "/venv/bin/python", "-c", code)
    assert "nobody False intake False" in said
    networks = {name.rpartition("_")[2] for name in deployment.container("kafka")["NetworkSettings"]["Networks"]}
    assert networks == {"bus"}
    there = deployment.compose("exec", "-T", "gateway", "bash", "-c", "exec 3<>/dev/tcp/kafka/9094", check=False)
    assert "kafka" in there, "the gateway does not even know its name"


def test_a_service_that_is_away_is_not_now_and_says_when_to_come_again(deployment: Deployment) -> None:
    container = deployment.kill("reporting")
    try:
        answer = httpx.get(f"{deployment.url}/", timeout=20)
    finally:
        deployment.start(container)
    deployment.wait_healthy("reporting")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json" and answer.json()["status"] == 503


def test_replicas_that_come_are_used_and_those_that_go_are_not_missed(deployment: Deployment) -> None:
    deployment.compose("up", "-d", "--no-recreate", "--scale", "reporting=2", "reporting")
    deployment.wait_healthy("reporting")
    time.sleep(3)
    assert {deployment.get("/")[0] for _ in range(20)} == {200}
    served = [
        deployment.compose("exec", "-T", "--index", str(number), "reporting", "python", "-c", COUNT).strip()
        for number in (1, 2)
    ]
    assert all(int(count) > 0 for count in served), f"requests served by each replica: {served}"

    deployment.compose("up", "-d", "--no-recreate", "--scale", "reporting=1", "reporting")
    assert {deployment.get("/")[0] for _ in range(20)} == {200}


COUNT = """
import urllib.request
page = urllib.request.urlopen("http://127.0.0.1:8000/metrics").read().decode()
print(sum(int(float(line.rsplit(" ", 1)[1])) for line in page.splitlines()
          if line.startswith('http_requests_total{') and 'route="/"' in line))
"""
