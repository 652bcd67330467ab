"""A process that stands still, and is not dead: whoever leads is replaced, and what it still tries has no effect."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from common.runtime.clock import new_id
from common.runtime.following import IDLE_SESSION_TIMEOUT_S
from common.testing.eventually import eventually
from porchlight.applying import apply, wait_until_known
from porchlight.credentials import create_api_key
from porchlight.processes import Known, Pids
from tests.support.platforms import RunningPlatform, started

BODY = {"queue": "paused", "channel": "voice"}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """Two of every service that follows."""
    with started(tmp_path_factory.mktemp("paused"), intake=2, router=1, presence=2, reporting=2) as found:
        yield found


async def leads(url: str, follower: str) -> bool:
    async with httpx.AsyncClient(timeout=5) as client:
        page = (await client.get(f"{url}/metrics")).text
    return f'follower_leads{{follower="{follower}"}} 1.0' in page


def is_stopped(known: Known) -> bool:
    return Path(f"/proc/{known.pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"


@pytest.mark.parametrize("service", ["intake", "agent-presence", "reporting"])
async def test_a_follower_that_is_paused_is_replaced_by_another(doubled: RunningPlatform, service: str) -> None:
    urls = getattr(doubled.running, service.removeprefix("agent-"))
    found: list[int] = []

    async def somebody_leads() -> bool:
        found[:] = [number for number, url in enumerate(urls) if await leads(url, service)]
        return len(found) == 1

    await eventually(somebody_leads, within_s=30, what=f"one {service} follows")
    (first,) = found
    known = next(one for one in Pids(doubled.home).alive() if one.name == f"{service}-{first + 1}")
    os.kill(known.pid, signal.SIGSTOP)
    try:

        async def stands_still() -> bool:
            return is_stopped(known)

        await eventually(stands_still, within_s=5, what=f"{known.name} is stopped")

        async def another_leads() -> bool:
            return await leads(urls[1 - first], service)

        await eventually(another_leads, within_s=IDLE_SESSION_TIMEOUT_S + 30, what=f"another {service} follows")
        assert is_stopped(known), "nobody woke it up"
    finally:
        os.kill(known.pid, signal.SIGCONT)

    async def gave_up() -> bool:
        log = (doubled.home.logs / f"{known.name}.log").read_text(errors="replace")
        return "follower_waits" in log and not await leads(urls[first], service)

    await eventually(gave_up, within_s=30, what=f"{known.name} noticed that its session is over")


async def test_states_go_on_while_the_intake_that_followed_is_paused(doubled: RunningPlatform) -> None:
    async with doubled.clients(client="paused") as clients:
        await apply(clients.administrator(), {"queues": {"paused": {"pool": "paused"}}})
        await wait_until_known(clients.integration(), BODY)
    key = await create_api_key(doubled.home, client="paused", owner_dsn=doubled.running.owner_dsns["intake"])
    urls = doubled.running.intake
    (first,) = [number for number, url in enumerate(urls) if await leads(url, "intake")]
    known = next(one for one in Pids(doubled.home).alive() if one.name == f"intake-{first + 1}")
    os.kill(known.pid, signal.SIGSTOP)
    try:
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": new_id()}
        async with httpx.AsyncClient(base_url=urls[1 - first], headers=headers, timeout=10) as client:
            contact_id = (await client.post("/v1/contacts", json=BODY)).json()["id"]

            async def queued() -> bool:
                return bool((await client.get(f"/v1/contacts/{contact_id}")).json()["state"] == "queued")

            await eventually(queued, within_s=IDLE_SESSION_TIMEOUT_S + 30, what="the contact is known to be queued")
        assert is_stopped(known)
    finally:
        os.kill(known.pid, signal.SIGCONT)
