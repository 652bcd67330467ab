"""Everything that the checker reads: the clients' journals, the routing log, the live tables, all of `routing.v1`."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from common.contracts.envelope import BadEnvelope, from_headers
from common.contracts.topics import AGENTS, CONFIG, ROUTING, SHARDS

READ_WAIT_MS = 5_000
PICTURES = ("agent.session_started", "agent.presence_changed", "agent.session_ended")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the routing log. `committed_ms`: when it was written inside its transaction."""

    shard: int
    seq: int
    epoch: int
    type: str
    at_ms: int
    body: str
    committed_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A record of `routing.v1`, in the order of its partition. `sent_ms`: the producer's time stamp."""

    shard: int
    seq: int
    epoch: int
    type: str
    body: str
    sent_ms: int


@dataclass(slots=True, kw_only=True)
class History:
    """What happened, from every side.

    `contacts`: (state, attempt, agent, queue) as the router keeps them; `pictures`: how many units an agent has, by
    (session_no, seq), as agent-presence told; `policies`: what a queue says of capacity, by version;
    `database_ahead_ms`: by how much PostgreSQL's clock was ahead of ours at the reading.
    """

    journals: list[dict[str, Any]] = field(default_factory=list)
    log: list[Line] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    accepted: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: list[tuple[str, str, str]] = field(default_factory=list)
    contacts: dict[str, tuple[str, int, str, str]] = field(default_factory=dict)
    assignments: list[tuple[str, int, str, bool, int | None]] = field(default_factory=list)
    units_used: list[tuple[str, int, str, int]] = field(default_factory=list)
    pictures: dict[str, dict[tuple[int, int], int]] = field(default_factory=dict)
    policies: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    last_seq: dict[int, int] = field(default_factory=dict)
    database_ahead_ms: float = 0.0


async def load(
    *, dsns: dict[str, str], kafka: Mapping[str, Any], topic_prefix: str = "", journals: Sequence[Path] = ()
) -> History:
    """Read it all. Read after the platform has settled: what is under way looks like a difference."""
    history = History(journals=[line for path in journals for line in read_journal(path)])
    await _load_router(history, dsns["router"])
    await _load_intake(history, dsns["intake"])
    history.published = await _load_topic(kafka, topic_prefix + ROUTING.name)
    for told in await _load_topic(kafka, topic_prefix + AGENTS.name):
        note_picture(history, told)
    for defined in await _load_topic(kafka, topic_prefix + CONFIG.name):
        note_policy(history, defined)
    return history


def note_picture(history: History, told: Published) -> None:
    """A fact of `agents.v1`: the agent's units, if it is a picture of the agent."""
    if told.type in PICTURES:
        fact = json.loads(told.body)
        of_agent = history.pictures.setdefault(fact["agent_id"], {})
        of_agent[fact["session_no"], fact["seq"]] = fact["units"]


def note_policy(history: History, defined: Published) -> None:
    """A fact of `config.v1`: what the queue says of capacity, if it is about a queue."""
    if defined.type == "queue.defined":
        fact = json.loads(defined.body)
        of_queue = history.policies.setdefault(fact["queue"], {})
        of_queue[fact["version"]] = fact.get("policy", {}).get("capacity", {})


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; a last line that was cut off by a kill is left out."""
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


async def _load_router(history: History, dsn: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        history.database_ahead_ms = await _database_ahead_ms(connection)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            history.log = [
                Line(**dict(row))
                for row in await connection.fetch(
                    "SELECT shard, seq, epoch, type, at_ms, body,"
                    " (extract(epoch FROM committed_at) * 1000)::float8 AS committed_ms"
                    " FROM routing_log ORDER BY shard, seq"
                )
            ]
            for row in await connection.fetch("SELECT contact_id, state, attempt, agent_id, queue_id FROM contact"):
                history.contacts[row["contact_id"]] = (row["state"], row["attempt"], row["agent_id"], row["queue_id"])
            history.assignments = [
                tuple(row)
                for row in await connection.fetch(
                    "SELECT contact_id, attempt, agent_id, accepted, released_at_ms FROM assignment"
                )
            ]
            history.units_used = [
                tuple(row)
                for row in await connection.fetch("SELECT agent_id, unit_no, contact_id, attempt FROM unit_use")
            ]
            await _load_policies(history, connection)
            for row in await connection.fetch("SELECT shard, last_seq FROM shard_lease"):
                history.last_seq[row["shard"]] = row["last_seq"]
    finally:
        await connection.close()


async def _load_policies(history: History, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """The present version of every queue, and the ones before from what administrators did: Kafka keeps the last one only."""
    puts: dict[str, list[dict[str, Any]]] = {}
    for row in await connection.fetch("SELECT subject, detail FROM audit WHERE action = 'queue.put' ORDER BY no"):
        puts.setdefault(row["subject"], []).append(json.loads(row["detail"]))
    for row in await connection.fetch("SELECT queue_id, version, policy::text FROM queue"):
        of_queue = history.policies.setdefault(row["queue_id"], {})
        for back, put in enumerate(reversed(puts.get(row["queue_id"], []))):
            of_queue[row["version"] - back] = put.get("policy", {}).get("capacity", {})
        of_queue[row["version"]] = json.loads(row["policy"]).get("capacity", {})


async def _database_ahead_ms(connection: "asyncpg.Connection[asyncpg.Record]") -> float:
    """At least so much; 0 when it is no more than the way there and back may take."""
    asked = time.time()
    theirs = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    answered = time.time()
    return 0.0 if asked <= theirs <= answered else float(theirs - answered) * 1000


async def _load_intake(history: History, dsn: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        for row in await connection.fetch(
            "SELECT contact_id, state, present_queue, accepted_at_ms, (extract(epoch FROM stored_at) * 1000)::float8 AS stored_ms"
            " FROM contact"
        ):
            history.accepted[row["contact_id"]] = dict(row)
        history.keys = [
            tuple(row) for row in await connection.fetch("SELECT client_id, key, contact_id FROM idempotency_key")
        ]
    finally:
        await connection.close()


async def _load_topic(kafka: Mapping[str, Any], topic: str) -> list[Published]:
    consumer = AIOKafkaConsumer(**kafka, group_id=None, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(SHARDS)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        for place, first in (await consumer.beginning_offsets(places)).items():
            consumer.seek(place, first)
        found: list[Published] = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=READ_WAIT_MS)).items():
                found.extend(_published(place.partition, record) for record in records)
        return found
    finally:
        await consumer.stop()


def _published(partition: int, record: Any) -> Published:
    try:
        envelope = from_headers(record.headers)
    except BadEnvelope:
        return Published(shard=partition, seq=-1, epoch=-1, type="?", body="", sent_ms=record.timestamp)
    return Published(
        shard=partition,
        seq=-1 if envelope.sequence is None else envelope.sequence,
        epoch=-1 if envelope.epoch is None else envelope.epoch,
        type=envelope.type,
        body=record.value.decode(),
        sent_ms=record.timestamp,
    )
