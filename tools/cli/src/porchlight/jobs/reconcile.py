"""Makes Kafka and the databases agree again, after one of them was lost or restored: Kafka is written anew.

PostgreSQL has the truth. What Kafka has may be older, newer or nothing; all of it is given up, and whatever must be there is
published again: the whole routing log, the definitions of queues and skills, facts that wait in the outboxes. Readers start at
the beginning and drop what they know by the log's numbers. Sessions of agents end, so that each sign-in brings a fresh picture.
Contacts that were accepted and not queued are submitted again by intake, as always.
"""

import asyncio
import time
from collections.abc import Sequence

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

from common.contracts.config import SkillDefined
from common.contracts.topics import CATALOGUE, CONFIG
from common.runtime.failures import Retryable
from common.runtime.kafka import Security, create_topics
from common.runtime.outbox import OutboxRow, insert, outbox_row
from porchlight.installation import SERVICES, Home, Running, Trouble
from porchlight.jobs.kafka_users import make_users
from router.adapters.ledger import QUEUE_COLUMNS, queue_defined

WAIT_S = 60.0
STATEMENTS = {
    "router": ("UPDATE shard_lease SET input_offsets = '{}', published_seq = 0",),
    "agent-presence": ("UPDATE session SET lease_expires_at = now() WHERE ended_at IS NULL",),
}


async def reconcile(home: Home, *, replication: int) -> list[str]:
    """Give up what Kafka has and prepare the databases to write it anew; returns what was done, a line each.

    `Trouble` when services are at work: they would read and write while the ground moves.
    """
    running = home.running()
    await _refuse_at_work(running.dsns["admin"])
    await _new_topics(running, security=await _administrator(home, running), replication=replication)
    done = [f"topics of the catalogue are new and empty ({replication} copies)"]
    for service in SERVICES:
        connection = await asyncpg.connect(running.owner_dsns[service], timeout=5)
        try:
            async with connection.transaction():
                await connection.execute("UPDATE position SET next_offset = 0")
                for statement in STATEMENTS.get(service, ()):
                    await connection.execute(statement)
                rows = await _definitions(connection, service)
                if rows:
                    await insert(connection, rows)
        finally:
            await connection.close()
        done.append(f"{service}: reads from the beginning" + (f", tells {len(rows)} definitions again" if rows else ""))
    return done


async def _refuse_at_work(admin_dsn: str) -> None:
    connection = await asyncpg.connect(admin_dsn, timeout=5)
    try:
        names = await connection.fetch(
            "SELECT DISTINCT datname FROM pg_stat_activity WHERE datname = ANY($1) AND pid <> pg_backend_pid()",
            [service.replace("-", "_") for service in SERVICES],
        )
    finally:
        await connection.close()
    if names:
        listed = ", ".join(sorted(row["datname"] for row in names))
        raise Trouble(f"somebody works on the databases {listed}: stop the services first (docker compose stop …)")


async def _administrator(home: Home, running: Running) -> Security:
    """Who may delete and make topics. A Kafka of our own that came back empty knows no users: they are made first."""
    if not running.is_own_kafka:
        return running.kafka_security
    try:
        return await make_users(home, bootstrap=running.kafka_bootstrap, prefix=running.topic_prefix)
    except Retryable as why:
        raise Trouble(f"Kafka at {running.kafka_bootstrap} does not answer: {why}") from why


async def _new_topics(running: Running, *, security: Security, replication: int) -> None:
    names = [running.topic_prefix + topic.name for topic in CATALOGUE]
    admin = AIOKafkaAdminClient(
        bootstrap_servers=running.kafka_bootstrap, request_timeout_ms=10_000, **security.options()
    )
    await admin.start()
    try:
        there = sorted(set(names) & set(await admin.list_topics()))
        if there:
            await admin.delete_topics(there)
    finally:
        await admin.close()
    await _create_until_there(running, names, security=security, replication=replication)


async def _create_until_there(running: Running, names: Sequence[str], *, security: Security, replication: int) -> None:
    """Deleting takes a moment, and a topic that is being deleted cannot be made."""
    deadline = time.monotonic() + WAIT_S
    made: set[str] = set()
    while made != set(names):
        try:
            made |= set(
                await create_topics(
                    running.kafka_bootstrap,
                    prefix=running.topic_prefix,
                    replication=replication,
                    security=security,
                )
            )
        except Retryable as why:
            if time.monotonic() > deadline:
                raise Trouble(f"Kafka does not make the topics anew: {why}") from why
        await asyncio.sleep(0.5)


async def _definitions(connection: "asyncpg.Connection[asyncpg.Record]", service: str) -> list[OutboxRow]:
    at_ms = int(time.time() * 1000)
    if service == "router":
        found = await connection.fetch(f"SELECT shard, {QUEUE_COLUMNS} FROM queue ORDER BY queue_id")  # noqa: S608 -- constants
        return [_queue_row(dict(row), at_ms) for row in found]
    if service == "agent-presence":
        skills = await connection.fetch("SELECT skill, version FROM skill ORDER BY skill")
        return [
            outbox_row(
                SkillDefined(**dict(row)), topic=CONFIG.name, partition=0, key=f"skill/{row['skill']}", at_ms=at_ms
            )
            for row in skills
        ]
    return []


def _queue_row(row: dict[str, object], at_ms: int) -> OutboxRow:
    shard = int(str(row.pop("shard")))
    fact = queue_defined(row)
    return outbox_row(fact, topic=CONFIG.name, partition=shard, key=f"queue/{fact.queue}", at_ms=at_ms)
