"""What operations rely on: the gateway's map knows every operation, and a correlation id runs to the last fact."""

import json
import re
from pathlib import Path

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from common.contracts.topics import shard_of
from common.testing.eventually import eventually
from tests.support.centre import Centre
from tests.support.platforms import RunningPlatform, command

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "deploy" / "gateway" / "default.conf.template"
ENTRY = re.compile(r"^\s*~(\S+)\s+([a-z-]+);", re.M)
FIRST_PATHS = 25
"""Operations that there are at the least, over all services."""


def route(path: str) -> str:
    """Where the gateway sends a path: the first entry of its map that fits, as nginx picks it."""
    for pattern, service in ENTRY.findall(TEMPLATE.read_text()):
        if re.search(pattern, path):
            return str(service)
    return ""


async def test_the_gateway_sends_every_operation_to_the_service_that_has_it(platform: RunningPlatform) -> None:
    running = platform.running
    urls = {"intake": running.intake, "router": running.router, "agent-presence": running.presence}
    urls["reporting"] = running.reporting
    seen, wrong = 0, []
    async with httpx.AsyncClient() as client:
        for service, addresses in urls.items():
            paths = (await client.get(f"{addresses[0]}/openapi.json")).json()["paths"]
            for path in paths:
                seen += 1
                concrete = re.sub(r"\{[^}]*\}", "01a2-x", path)
                if route(concrete) != service:
                    wrong.append((path, service, route(concrete)))
    assert seen >= FIRST_PATHS
    assert wrong == []
    assert route("/metrics") == route("/readyz") == route("/docs") == ""


async def test_the_committed_descriptions_are_what_the_services_say_of_themselves(platform: RunningPlatform) -> None:
    running = platform.running
    urls = {"intake": running.intake, "router": running.router, "agent-presence": running.presence}
    urls["reporting"] = running.reporting
    async with httpx.AsyncClient() as client:
        for service, addresses in urls.items():
            said = (await client.get(f"{addresses[0]}/openapi.json")).json()
            committed = json.loads((ROOT / "docs" / "openapi" / f"{service}.json").read_text())
            assert {name: said[name] for name in ("paths", "components")} == {
                name: committed[name] for name in ("paths", "components")
            }


async def test_a_posts_correlation_id_runs_to_the_contacts_last_fact(platform: RunningPlatform) -> None:
    async with platform.clients() as clients:
        centre = Centre(clients, "correlated")
        await centre.open()
        desktop = await centre.agent("ann")
        first = await centre.post()
        await desktop.accept(await centre.offer(desktop, first))
        await desktop.complete({"contact_id": first, "attempt": 1})
        key = clients._api_key
        async with httpx.AsyncClient() as client:
            posted = await client.post(
                f"{platform.running.intake[0]}/v1/contacts",
                json={"queue": centre.queue, "channel": "voice"},
                headers={
                    "Authorization": f"Bearer {key}",
                    "Idempotency-Key": "correlated-1",
                    "X-Correlation-Id": "call-77",
                },
            )
        contact_id = posted.json()["id"]
        offer = await centre.offer(desktop, contact_id)
        await desktop.accept(offer)
        await desktop.complete(offer)
        await centre.journey(contact_id, "contact.completed")

    facts = await _facts(platform, contact_id, shard_of("correlated"))

    assert [kind for kind, _ in facts] == ["contact.queued", "offer.made", "offer.accepted", "contact.completed"]
    assert {correlation for _, correlation in facts} == {"call-77"}
    assert posted.headers["x-correlation-id"] == "call-77"


async def _facts(platform: RunningPlatform, contact_id: str, shard: int) -> list[tuple[str, str]]:
    reader = AIOKafkaConsumer(bootstrap_servers=platform.running.kafka_bootstrap, group_id=None)
    await reader.start()
    place = TopicPartition(platform.running.topic_prefix + "routing.v1", shard)
    reader.assign([place])
    end = (await reader.end_offsets([place]))[place]
    reader.seek(place, 0)
    found = []
    try:
        while await reader.position(place) < end:
            for record in (await reader.getmany(timeout_ms=1_000)).get(place, []):
                headers = dict(record.headers)
                if record.key == contact_id.encode():
                    found.append((headers["ce_type"].decode(), headers.get("ce_correlationid", b"").decode()))
    finally:
        await reader.stop()
    return found


async def test_every_service_puts_refused_credentials_into_its_audit(platform: RunningPlatform) -> None:
    running = platform.running
    asked = {
        "intake": (running.intake[0], "/v1/contacts"),
        "router": (running.router[0], "/v1/queues"),
        "agent-presence": (running.presence[0], "/v1/skills"),
        "reporting": (running.reporting[0], "/v1/queues/q/summary?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"),
    }
    async with httpx.AsyncClient(headers={"Authorization": "Bearer not-a-token"}) as client:
        statuses = [(await client.get(url + path)).status_code for url, path in asked.values()]
    assert statuses == [401] * 4
    for service in asked:
        connection = await asyncpg.connect(running.owner_dsns[service])

        async def noted(connection: "asyncpg.Connection[asyncpg.Record]" = connection) -> bool:
            found = await connection.fetchval("SELECT count(*) FROM audit WHERE action = 'credential.refused'")
            return bool(found)

        try:
            await eventually(noted, within_s=15, what=f"the audit of {service} knows of it")
        finally:
            await connection.close()


def test_who_has_a_token_made_is_noted_and_the_token_is_not(platform: RunningPlatform) -> None:
    done = command("token", "supervisor", "noted-sam", home=platform.home.folder)

    lines = (platform.home.logs / "issued-tokens.jsonl").read_text().splitlines()
    noted = [json.loads(line) for line in lines if "noted-sam" in line]
    assert [(one["subject"], one["role"]) for one in noted] == [("noted-sam", "supervisor")]
    assert noted[0]["actor"].startswith("ops:") and done.stdout.strip() not in "\n".join(lines)
