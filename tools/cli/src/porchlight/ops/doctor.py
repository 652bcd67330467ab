"""`porchlight ops doctor`: does everything that runs fit together?"""

import shutil
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from urllib.parse import urlsplit

import asyncpg
import httpx
from aiokafka.admin import AIOKafkaAdminClient

from common.contracts.topics import CATALOGUE, SHARDS
from porchlight.installation import SERVICES, Home, Running, Trouble
from porchlight.jobs.grants import read_matrix
from porchlight.local.doctor import DISK_FREE_MIN, Finding
from porchlight.ops.actions import database

SKEW_MAX_S = 2.0
"""Clocks further apart make ages and deadlines wrong."""


async def examine(home: Home) -> list[Finding]:
    """Every check, in order."""
    running = home.running()
    return [
        await _check("clock of postgres", lambda: _postgres_clock(running)),
        *[await _check(f"clock of {service}", lambda s=service: _clock(running, s)) for service in SERVICES],  # type: ignore[misc]
        *[await _check(f"schema of {service}", lambda s=service: _schema(running, s)) for service in SERVICES],  # type: ignore[misc]
        *[await _check(f"rights of {service}", lambda s=service: _rights(running, s)) for service in SERVICES],  # type: ignore[misc]
        await _check("topics", lambda: _topics(running)),
        await _check("disk", lambda: _disk(home, running)),
    ]


async def _check(name: str, look: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(check=name, ok=True, text=await look())
    except Trouble as why:
        return Finding(check=name, ok=False, text=str(why))
    except (OSError, asyncpg.PostgresError, httpx.TransportError, TimeoutError) as why:
        return Finding(check=name, ok=False, text=f"does not answer: {why!r}")


def _judge_skew(skew_s: float, who: str) -> str:
    if abs(skew_s) > SKEW_MAX_S:
        raise Trouble(f"{who} is {skew_s:+.0f} s off this machine's clock: run NTP on both")
    return f"{skew_s:+.1f} s from this machine's"


async def _postgres_clock(running: Running) -> str:
    async with database(running, "router") as connection:
        before = time.time()
        theirs = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        return _judge_skew(theirs - (before + time.time()) / 2, "PostgreSQL")


async def _clock(running: Running, service: str) -> str:
    urls = {
        "intake": running.intake,
        "router": running.router,
        "agent-presence": running.presence,
        "reporting": running.reporting,
    }
    path = {"intake": "/v1/contacts", "router": "/v1/queues", "agent-presence": "/v1/skills", "reporting": "/"}[service]
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        found = [await client.get(url + path) for url in urls[service]]
    skews = []
    for answer in found:
        stamp = answer.headers.get("x-served-at", "")
        if not stamp.isdigit():
            raise Trouble(f"{service} does not answer: {answer.status_code} comes from something in between")
        skews.append(int(stamp) / 1000 - time.time())
    return _judge_skew(max(skews, key=abs), service)


async def _schema(running: Running, service: str) -> str:
    wants = import_module(f"{service.replace('-', '_')}.config").SCHEMA
    async with database(running, service) as connection:
        found = await connection.fetchval("SELECT version_num FROM alembic_version")
    if found != wants:
        raise Trouble(f"it is {found}, this release has {wants}: run the migrate job of this release")
    return f"{found}"


async def _rights(running: Running, service: str) -> str:
    matrix = read_matrix(service)
    role = urlsplit(running.dsns[service]).username
    async with database(running, service) as connection:
        rows = await connection.fetch(
            "SELECT c.relname, v.verb FROM pg_class c, unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE']) AS v(verb)"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND has_table_privilege($1, c.oid, v.verb)",
            role,
        )
    has = {(row["relname"], row["verb"]) for row in rows}
    wanted = {(table, verb) for table, verbs in matrix.tables.items() for verb in verbs}
    if has != wanted:
        too_many = ", ".join(f"{verb} on {table}" for table, verb in sorted(has - wanted)) or "nothing"
        missing = ", ".join(f"{verb} on {table}" for table, verb in sorted(wanted - has)) or "nothing"
        raise Trouble(f"too much: {too_many}; missing: {missing}: run the migrate job")
    return f"{len(has)} rights, as in the matrix"


async def _topics(running: Running) -> str:
    admin = AIOKafkaAdminClient(**running.kafka, request_timeout_ms=10_000)
    await admin.start()
    try:
        names = [running.topic_prefix + topic.name for topic in CATALOGUE]
        missing = sorted(set(names) - set(await admin.list_topics()))
        if missing:
            raise Trouble(f"{', '.join(missing)} missing: run the topics job")
        described = await admin.describe_topics(names)
    finally:
        await admin.close()
    wrong = [f"{one['topic']} has {len(one['partitions'])}" for one in described if len(one["partitions"]) != SHARDS]
    if wrong:
        raise Trouble(f"{', '.join(wrong)} partitions, the catalogue says {SHARDS}")
    copies = min(len(part["replicas"]) for one in described for part in one["partitions"])
    short = sum(len(part["isr"]) < len(part["replicas"]) for one in described for part in one["partitions"])
    if short:
        raise Trouble(f"{short} partitions have fewer copies in step than they should: is a broker down?")
    return f"{len(names)} topics of {SHARDS} partitions, {copies} copies, all in step"


async def _disk(home: Home, running: Running) -> str:
    free = shutil.disk_usage(home.folder).free
    connection = await asyncpg.connect(running.dsns["admin"], timeout=5)
    try:
        used = await connection.fetchval("SELECT sum(pg_database_size(datname))::bigint FROM pg_database")
    finally:
        await connection.close()
    if free < DISK_FREE_MIN:
        raise Trouble(f"{free / 1e6:.0f} MB free under {home.folder}: make room")
    return f"{free / 1e9:.0f} GB free here, databases have {used / 1e6:.0f} MB"
