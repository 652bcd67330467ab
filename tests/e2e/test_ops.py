"""`porchlight ops` on a running platform: each command, as people and as programs call it."""

import json
import os
import signal
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from common.testing.eventually import eventually
from porchlight.local.processes import Pids
from tests.support.centre import Centre
from tests.support.platforms import RunningPlatform, command

pytestmark = pytest.mark.timeout(180)


def ops(platform: RunningPlatform, *words: str, status: int = 0) -> Any:
    done = command("ops", *words, home=platform.home.folder)
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout) if "--json" in words else done.stdout + done.stderr


async def test_every_shard_has_an_owner_an_epoch_and_no_backlog(platform: RunningPlatform) -> None:
    rows = ops(platform, "shards", "--json")

    assert [row["shard"] for row in rows] == list(range(12))
    assert {row["owner"] for row in rows} <= {"1", "2"} and all(row["epoch"] >= 1 for row in rows)
    assert "epoch" in ops(platform, "shards"), "a table for people"


async def test_the_lag_of_every_reader_goes_to_nothing(platform: RunningPlatform) -> None:
    async def nothing_left() -> bool:
        rows = ops(platform, "lag", "--json")
        assert {row["service"] for row in rows} >= {"intake", "router", "agent-presence", "reporting"}
        return all(row["left"] == 0 for row in rows)

    await eventually(nothing_left, within_s=30)


async def test_a_sound_platform_passes_the_doctor_and_a_right_too_many_does_not(platform: RunningPlatform) -> None:
    sound = ops(platform, "doctor", "--json")
    assert all(row["ok"] for row in sound) and len(sound) == 15

    role = urlsplit(platform.running.dsns["reporting"]).username
    connection = await asyncpg.connect(platform.running.owner_dsns["reporting"])
    try:
        await connection.execute(f"GRANT DELETE ON step TO {role}")
        wrong = ops(platform, "doctor", "--json", status=1)
    finally:
        await connection.execute(f"REVOKE DELETE ON step FROM {role}")
        await connection.close()
    assert [row["check"] for row in wrong if not row["ok"]] == ["rights of reporting"]
    assert "DELETE on step" in str(wrong)


async def test_a_record_that_cannot_be_read_is_listed_shown_and_dropped_with_a_reason(
    platform: RunningPlatform,
) -> None:
    topic = platform.running.topic_prefix + "config.v1"
    producer = AIOKafkaProducer(bootstrap_servers=platform.running.kafka_bootstrap)
    await producer.start()
    sent = await producer.send_and_wait(
        topic, b"no fact", key=b"x", partition=7, headers=[("ce_id", b"1"), ("ce_type", b"no.such")]
    )
    await producer.stop()
    record = f"{topic}/7/{sent.offset}"

    async def is_parked() -> bool:
        return [row["service"] for row in ops(platform, "parked", "list", "--json") if row["record"] == record] != []

    await eventually(is_parked, within_s=20)
    assert ops(platform, "parked", "show", "intake", record, "--json")[0]["value"] == "no fact"
    assert "--yes" in ops(platform, "parked", "drop", "intake", record, "--reason", "a test", status=2)
    assert "published again" in ops(platform, "parked", "retry", "intake", record, "--yes")
    again = f"{topic}/7/{sent.offset + 1}"

    async def is_parked_again() -> bool:
        parked = ops(platform, "parked", "list", "--json")
        return any(row["record"] == again and row["service"] == "intake" for row in parked)

    await eventually(is_parked_again, within_s=20)
    ops(platform, "parked", "drop", "intake", again, "--reason", "a test wrote it", "--yes")
    left = ops(platform, "parked", "list", "--json")
    assert not [row for row in left if row["service"] == "intake" and row["record"] in (record, again)]
    noted = [row for row in ops(platform, "audit", "--json") if row["subject"] == again]
    assert [(row["action"], row["detail"]) for row in noted] == [("parked.drop", "a test wrote it")]


async def test_who_changed_a_queue_stands_in_the_audit(platform: RunningPlatform) -> None:
    async with platform.clients() as clients:
        await Centre(clients, "audited").open()

    rows = [row for row in ops(platform, "audit", "--json") if row["subject"] == "q-audited"]

    assert [(row["actor"], row["action"]) for row in rows] == [("porchlight-tools", "queue.put")]
    assert "offer_timeout_ms" in rows[0]["detail"]


async def test_a_drained_router_owns_nothing_and_contacts_go_on(platform: RunningPlatform) -> None:
    before = {row["owner"] for row in ops(platform, "shards", "--json")}
    assert "no router nobody" in ops(platform, "drain", "nobody", "--yes", status=2)

    rows = ops(platform, "drain", "2", "--yes", "--json")

    assert before == {"1", "2"} and {row["owner"] for row in rows} == {"1"}
    async with platform.clients() as clients:
        centre = Centre(clients, "drained")
        await centre.open()
        desktop = await centre.agent("ann")
        contact_id = await centre.post()
        await desktop.accept(await centre.offer(desktop, contact_id))

    second = next(known for known in Pids(platform.home).alive() if known.name == "router-2")
    os.kill(second.pid, signal.SIGTERM)

    async def shared_again() -> bool:
        return {row["owner"] for row in ops(platform, "shards", "--json")} == {"1", "2"}

    await eventually(shared_again, within_s=40, what="a router that starts again takes its share")
