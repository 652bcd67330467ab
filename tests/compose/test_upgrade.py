"""Every service is restarted under load, one replica after the other: every request is answered and nothing is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from tests.support.deployment import Deployment, deployed

pytestmark = pytest.mark.timeout(900)
SERVICES = ("intake", "router", "agent-presence", "reporting")


@dataclass(slots=True)
class Asking:
    """Reads and posts through the gateway, without repeating anything: what a careless client would see."""

    url: str
    key: str
    token: str
    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    async def run(self, until: asyncio.Event) -> None:
        limits = httpx.Limits(max_keepalive_connections=8)
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=15, limits=limits) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for number in range(4):
                tasks.create_task(self._ask(client, until, number))

    async def _ask(self, client: httpx.AsyncClient, until: asyncio.Event, number: int) -> None:
        count = 0
        while not until.is_set():
            count += 1
            await self._one(client, f"{number}-{count}-{time.time_ns()}")
            await asyncio.sleep(0.05)

    async def _one(self, client: httpx.AsyncClient, name: str) -> None:
        key = {"Authorization": f"Bearer {self.key}"}
        admin = {"Authorization": f"Bearer {self.token}"}
        asked = {
            "post": client.post(
                "/v1/contacts", json={"queue": "porch", "channel": "email"}, headers={**key, "Idempotency-Key": name}
            ),
            "status page": client.get("/"),
            "queue": client.get("/v1/queues/porch", headers=admin),
            "agent": client.get("/v1/agents/ann", headers=admin),
        }
        for what, request in asked.items():
            try:
                answer = await request
                self.statuses[f"{what} {answer.status_code}"] += 1
                if answer.status_code >= 500:
                    self.failures.append(f"{what} {answer.status_code} {answer.text[:200]}")
            except httpx.TransportError as why:
                self.failures.append(f"{what}: {why!r}")


@pytest.fixture(scope="module")
def doubled(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two replicas of every service."""
    with deployed("porchlight-rolling", tmp_path_factory.mktemp("rolling")) as found:
        found.up()
        scale = [word for service in SERVICES for word in ("--scale", f"{service}=2")]
        found.compose("up", "-d", "--no-recreate", *scale)
        found.wait_healthy(*SERVICES)
        found.tools("try")
        yield found


def roll(deployment: Deployment) -> list[str]:
    """Restart every replica of every service, one at a time; returns the containers' names."""
    rolled = []
    for service in SERVICES:
        for number in (1, 2):
            found = deployment.container(service, number)
            before = found["State"]["StartedAt"]
            deployment.docker("restart", "--time", "20", found["Id"])
            deployment.wait_healthy(service)
            assert deployment.container(service, number)["State"]["StartedAt"] != before
            rolled.append(found["Name"])
    return rolled


async def test_a_rolling_restart_answers_every_request_and_loses_nothing(doubled: Deployment) -> None:
    asking = Asking(
        url=doubled.url,
        key=doubled.tools("keys", "create", "rolling").split()[-1],
        token=doubled.tools("token", "admin", "rolling").split()[-1],
    )
    until = asyncio.Event()
    task = asyncio.create_task(asking.run(until))
    await asyncio.sleep(2)
    rolled = await asyncio.to_thread(roll, doubled)
    await asyncio.sleep(2)
    until.set()
    await task

    assert len(rolled) == 8
    assert sum(asking.statuses.values()) > 500, asking.statuses
    assert asking.failures == [], f"{len(asking.failures)} of {sum(asking.statuses.values())}: {asking.failures[:5]}"
    assert set(asking.statuses) == {"post 202", "status page 200", "queue 200", "agent 200"}
    said = doubled.tools("check")
    assert "nothing lost, doubled or over capacity" in said
