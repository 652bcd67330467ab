"""What `porchlight ops` looks at and does, on the databases and Kafka of a running platform."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from common.contracts.topics import CATALOGUE, SHARDS
from common.runtime import locks
from porchlight.installation import SERVICES, Running, Trouble

Row = dict[str, Any]
RATE_OVER_S = 1.0
FETCH_WAIT_S = 10.0
FOLLOWED = {
    "intake": ("config.v1", "routing.v1"),
    "router": ("config.v1",),
    "agent-presence": ("routing.v1",),
    "reporting": ("config.v1", "contacts.v1", "agents.v1", "routing.v1"),
}
"""What each service follows with a stored position; the router's shards read their inputs besides."""
INPUTS = ("config.v1", "agents.v1", "contacts.v1")


@asynccontextmanager
async def database(running: Running, service: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The tables of a service, as their owner."""
    if service not in SERVICES:
        raise Trouble(f"there is no service {service}: {', '.join(SERVICES)}")
    connection = await asyncpg.connect(running.owner_dsns[service], timeout=5)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def consumer(running: Running) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader of whatever it is told to read."""
    found = AIOKafkaConsumer(**running.kafka, group_id=None, enable_auto_commit=False)
    await found.start()
    try:
        yield found
    finally:
        await found.stop()


async def ends(running: Running, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """The next offset of every partition."""
    async with consumer(running) as reader:
        places = [TopicPartition(running.topic_prefix + topic, number) for topic in topics for number in range(SHARDS)]
        found = await reader.end_offsets(places)
    cut = len(running.topic_prefix)
    return {(place.topic[cut:], place.partition): at for place, at in found.items()}


async def shards(running: Running) -> list[Row]:
    """Owner, epoch, lines, lines a second, unread inputs and unpublished lines of each shard.

    The last two are as of the shard's last commit: of an idle shard its last batch counts as unpublished.
    """
    kafka = await ends(running, INPUTS)
    look = (
        "SELECT shard, owner, epoch, last_seq, published_seq, input_offsets::text AS offsets, EXISTS (SELECT 1 FROM pg_locks"
        " WHERE locktype = 'advisory' AND classid = $1::bigint::oid AND objid = shard::oid AND granted AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())) AS owned FROM shard_lease ORDER BY shard"
    )
    async with database(running, "router") as connection:
        first = {row["shard"]: row["last_seq"] for row in await connection.fetch(look, locks.SHARDS)}
        await asyncio.sleep(RATE_OVER_S)
        rows = await connection.fetch(look, locks.SHARDS)
    found = []
    for row in rows:
        offsets = _offsets(row["offsets"], running.topic_prefix)
        lag = sum(
            kafka[topic, row["shard"]] - offsets.get((topic, row["shard"]), 0)
            for topic in INPUTS
            if (topic, row["shard"]) in kafka
        )
        found.append(
            {
                "shard": row["shard"],
                "owner": row["owner"].partition("/")[0] if row["owned"] else "",
                "epoch": row["epoch"],
                "lines": row["last_seq"],
                "per_second": round((row["last_seq"] - first[row["shard"]]) / RATE_OVER_S),
                "unread": max(0, lag),
                "unpublished": row["last_seq"] - row["published_seq"],
            }
        )
    return found


def _offsets(text: str, prefix: str) -> dict[tuple[str, int], int]:
    found = {}
    for name, at in json.loads(text).items():
        topic, _, number = name.removeprefix(prefix).rpartition("/")
        found[topic, int(number)] = at
    return found


async def lag(running: Running) -> list[Row]:
    """For every follower and topic, how many records are left; for every outbox, how many facts wait for Kafka.

    What the routers' shards have before them is in `shards`.
    """
    kafka = await ends(running, [topic.name for topic in CATALOGUE])
    found: list[Row] = []
    for service in SERVICES:
        async with database(running, service) as connection:
            rows = await connection.fetch("SELECT topic, partition, next_offset FROM position")
            read = {
                (row["topic"].removeprefix(running.topic_prefix), row["partition"]): row["next_offset"] for row in rows
            }
            lefts = {
                topic: sum(max(0, kafka[topic, number] - read.get((topic, number), 0)) for number in range(SHARDS))
                for topic in FOLLOWED[service]
            }
            found += [{"service": service, "what": f"reads {topic}", "left": left} for topic, left in lefts.items()]
            if await connection.fetchval("SELECT to_regclass('outbox') IS NOT NULL"):
                waiting = await connection.fetchval("SELECT count(*) FROM outbox")
                found.append({"service": service, "what": "facts that wait for Kafka", "left": waiting})
    return found


async def parked(running: Running) -> list[Row]:
    """Every record that was put aside."""
    found: list[Row] = []
    for service in SERVICES:
        async with database(running, service) as connection:
            rows = await connection.fetch(
                "SELECT topic, partition, record_offset, reason, parked_at, length(value) AS bytes FROM parked ORDER BY parked_at"
            )
        found += [
            {
                "service": service,
                "record": f"{row['topic']}/{row['partition']}/{row['record_offset']}",
                "at": row["parked_at"].isoformat(timespec="seconds"),
                "bytes": row["bytes"],
                "reason": row["reason"],
            }
            for row in rows
        ]
    return found


def _place(record: str) -> tuple[str, int, int]:
    topic, partition, offset = record.rsplit("/", 2) if record.count("/") >= 2 else ("", "", "")
    if not topic or not partition.isdigit() or not offset.isdigit():
        raise Trouble(f"{record} is not topic/partition/offset, as `ops parked list` shows it")
    return topic, int(partition), int(offset)


async def show_parked(running: Running, service: str, record: str) -> Row:
    """One parked record with its value."""
    async with database(running, service) as connection:
        row = await connection.fetchrow(
            "SELECT reason, value FROM parked WHERE topic = $1 AND partition = $2 AND record_offset = $3",
            *_place(record),
        )
    if row is None:
        raise Trouble(f"{service} has parked no record {record}: see `ops parked list`")
    return {"record": record, "reason": row["reason"], "value": row["value"].decode(errors="replace")}


async def retry_parked(running: Running, service: str, record: str, *, actor: str) -> None:
    """Publish the record again, as it was, at the end of its partition; it is parked no more."""
    topic, partition, offset = _place(record)
    await show_parked(running, service, record)
    async with consumer(running) as reader:
        place = TopicPartition(topic, partition)
        reader.assign([place])
        first = (await reader.beginning_offsets([place]))[place]
        if offset < first:
            raise Trouble(f"Kafka keeps {topic} from {first} on: {record} is gone; drop it with a reason")
        reader.seek(place, offset)
        found = await asyncio.wait_for(reader.getone(place), FETCH_WAIT_S)
    producer = AIOKafkaProducer(**running.kafka, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(
            topic, found.value, key=found.key, partition=partition, headers=list(found.headers)
        )
    finally:
        await producer.stop()
    await _forget(running, service, record, actor=actor, action="parked.retry", detail="")


async def drop_parked(running: Running, service: str, record: str, *, reason: str, actor: str) -> None:
    """Forget a parked record; who and why stays in the audit."""
    if not reason.strip():
        raise Trouble("say why with --reason: it stays in the audit")
    await show_parked(running, service, record)
    await _forget(running, service, record, actor=actor, action="parked.drop", detail=reason)


async def _forget(running: Running, service: str, record: str, *, actor: str, action: str, detail: str) -> None:
    async with database(running, service) as connection, connection.transaction():
        await connection.execute(
            "DELETE FROM parked WHERE topic = $1 AND partition = $2 AND record_offset = $3", *_place(record)
        )
        await _note(connection, actor, action, record, detail)


async def drain(running: Running, instance: str, *, actor: str, within_s: float = 30.0) -> list[Row]:
    """Ask a router to give its shards back, and wait until it owns none. `Trouble` when it is not there or stays."""
    async with database(running, "router") as connection, connection.transaction():
        asked = await connection.fetch(
            "UPDATE router_instance SET draining = true WHERE split_part(instance_id, '/', 1) = $1 RETURNING instance_id",
            instance,
        )
        if not asked:
            there = await connection.fetch(
                "SELECT split_part(instance_id, '/', 1) AS name FROM router_instance ORDER BY 1"
            )
            raise Trouble(f"no router {instance}: there are {', '.join(row['name'] for row in there) or 'none'}")
        await _note(connection, actor, "router.drain", instance, "")
    deadline = time.monotonic() + within_s
    while True:
        rows = await shards(running)
        if not any(row["owner"] == instance for row in rows) and all(row["owner"] for row in rows):
            return rows
        if time.monotonic() > deadline:
            raise Trouble(f"{instance} still owns shards after {within_s:.0f} s: is it the only router?")


async def audit(running: Running, *, last: int) -> list[Row]:
    """The latest changes of all services, newest first."""
    found: list[Row] = []
    for service in SERVICES:
        async with database(running, service) as connection:
            rows = await connection.fetch(
                "SELECT at, actor, action, subject, detail FROM audit ORDER BY no DESC LIMIT $1", last
            )
        found += [{"service": service, **dict(row)} for row in rows]
    found.sort(key=lambda row: row["at"], reverse=True)
    return [{**row, "at": row["at"].isoformat(timespec="milliseconds")} for row in found[:last]]


async def _note(
    connection: "asyncpg.Connection[asyncpg.Record]", actor: str, action: str, subject: str, detail: str
) -> None:
    await connection.execute(
        "INSERT INTO audit (actor, action, subject, detail) VALUES ($1, $2, $3, $4)", actor, action, subject, detail
    )
