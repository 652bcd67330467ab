"""Real servers for tests and tools: from the environment, from Docker, or embedded, in this order.

PORCHLIGHT_TEST_BACKEND forces one (env, docker, embedded; auto tries in order). A forced one that is missing is an
error, never a skip.
"""

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from common.runtime.failures import Retryable
from common.runtime.kafka import create_topics
from porchlight.installation import Home, Trouble
from porchlight.jobs.databases import wait_for
from porchlight.local import kafka, postgres
from porchlight.local.processes import free_port

POSTGRES_IMAGE = os.environ.get("PORCHLIGHT_POSTGRES_IMAGE", "postgres:17")
KAFKA_IMAGE = os.environ.get("PORCHLIGHT_KAFKA_IMAGE", "apache/kafka:4.3.1")
READY_TIMEOUT_S = 60.0
DOCKER_ANSWERS_WITHIN_S = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """A PostgreSQL, as its administrator, and a Kafka."""

    admin_dsn: str
    bootstrap: str
    source: str


@contextmanager
def provide(say: Callable[[str], None]) -> Iterator[Servers]:
    """Servers while the block runs. `Trouble` when what was asked for is not there."""
    wanted = os.environ.get("PORCHLIGHT_TEST_BACKEND", "auto")
    sources: dict[str, list[Callable[[ExitStack], Servers]]] = {
        "env": [_from_environment],
        "docker": [_from_docker],
        "embedded": [_embedded],
    }
    sources["auto"] = [_from_environment, _from_docker, _embedded]
    if wanted not in sources:
        raise Trouble(f"PORCHLIGHT_TEST_BACKEND={wanted}: use env, docker, embedded or auto")
    reasons = []
    with ExitStack() as stack:
        for source in sources[wanted]:
            try:
                servers = source(stack)
            except Trouble as why:
                reasons.append(str(why))
                continue
            asyncio.run(_ready(servers))
            say(f"postgres and kafka: {servers.source}")
            yield servers
            return
    raise Trouble("; ".join(reasons))


def _from_environment(_stack: ExitStack) -> Servers:
    names = ("PORCHLIGHT_DATABASE_URL", "PORCHLIGHT_KAFKA_BOOTSTRAP")
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise Trouble(f"{' and '.join(missing)} not set")
    return Servers(admin_dsn=os.environ[names[0]], bootstrap=os.environ[names[1]], source="environment")


def _from_docker(stack: ExitStack) -> Servers:
    from docker.client import DockerClient
    from docker.errors import DockerException

    try:
        with closing(DockerClient.from_env(timeout=DOCKER_ANSWERS_WITHIN_S)) as client:
            client.ping()
    except DockerException as why:
        raise Trouble(f"no Docker engine answers ({type(why).__name__})") from why
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from tests.support.containers import start_kafka, start_postgres

    try:
        dsn = start_postgres(POSTGRES_IMAGE, stack)
        bootstrap = start_kafka(KAFKA_IMAGE, stack)
    except DockerException as why:
        raise Trouble(f"Docker cannot run {POSTGRES_IMAGE} and {KAFKA_IMAGE}: {why}") from why
    return Servers(admin_dsn=dsn, bootstrap=bootstrap, source=f"docker {POSTGRES_IMAGE}, {KAFKA_IMAGE}")


def _embedded(stack: ExitStack) -> Servers:
    home = Home(stack.enter_context(tempfile.TemporaryDirectory(prefix="porchlight-servers-")))
    home.make()
    database = postgres.Postgres(home, port=free_port(), fast=True)
    broker = kafka.Kafka(home, port=free_port(), controller_port=free_port(), say=print)
    database.prepare()
    stack.callback(_stop, database.start(), postgres.STOP_SIGNAL)
    broker.prepare()
    stack.callback(_stop, broker.start(), kafka.STOP_SIGNAL)
    return Servers(
        admin_dsn=database.dsn, bootstrap=broker.bootstrap, source=f"embedded {database.version}, {broker.version}"
    )


def _stop(process: "subprocess.Popen[bytes]", number: int) -> None:
    process.send_signal(number)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _ready(servers: Servers) -> None:
    await wait_for(servers.admin_dsn, timeout_s=READY_TIMEOUT_S)
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            await create_topics(servers.bootstrap, prefix="ready.")
            return
        except Retryable as why:
            if time.monotonic() > deadline:
                raise Trouble(f"Kafka at {servers.bootstrap} does not answer: {why}") from why
            await asyncio.sleep(0.1)
