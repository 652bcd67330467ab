"""Starts everything in order, starts again what dies, stops everything in reverse."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from common.runtime.failures import Retryable
from common.runtime.kafka import create_topics
from porchlight.installation import SERVICES, Home, Running, Trouble
from porchlight.jobs.databases import Databases, create_databases, migrate_all, wait_for
from porchlight.jobs.kafka_users import ADMIN as KAFKA_ADMIN
from porchlight.jobs.kafka_users import MECHANISM, kafka_password, make_users_and_topics
from porchlight.jobs.keys import make_keys
from porchlight.local import kafka as kafka_server
from porchlight.local import postgres as postgres_server
from porchlight.local.plan import Instance, Options, Plan, make_plan, service_command, service_environment
from porchlight.local.processes import Pids, start

CHECK_EVERY_S = 0.1
BACK_OFF_FIRST_S, BACK_OFF_MAX_S = 0.2, 5.0
CALM_S = 10.0
"""A process that ran for so long starts again after the first back-off."""
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = {"postgres": 15.0, "kafka": 20.0}
SERVICE_STOP_TIMEOUT_S = 12.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Child:
    """A process that must run."""

    name: str
    start: Callable[[], "subprocess.Popen[bytes]"]
    stop_signal: int
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    back_off_s: float = BACK_OFF_FIRST_S
    again_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedServers:
    """PostgreSQL and Kafka to work with. `ours`: started by us, and nobody else's data in them."""

    admin_dsn: str
    bootstrap: str
    versions: dict[str, str]
    ours: bool


def external_servers() -> UsedServers | None:
    """Servers that run already: PORCHLIGHT_DATABASE_URL and PORCHLIGHT_KAFKA_BOOTSTRAP. `Trouble` for only one."""
    names = ("PORCHLIGHT_DATABASE_URL", "PORCHLIGHT_KAFKA_BOOTSTRAP")
    there = [name for name in names if os.environ.get(name)]
    if not there:
        return None
    if len(there) == 1:
        raise Trouble(f"only {there[0]} is set: set both of {' and '.join(names)}, or neither")
    versions = {"postgres": "postgres of the environment", "kafka": "kafka of the environment"}
    return UsedServers(admin_dsn=os.environ[names[0]], bootstrap=os.environ[names[1]], versions=versions, ours=False)


def namespace(home: Home) -> tuple[str, str]:
    """Topic prefix and database suffix of this installation on servers that it shares with others."""
    name = home.secret("namespace")[:8].lower().replace("-", "0").replace("_", "0")
    return f"p{name}.", f"_p{name}"


class Supervisor:
    """The platform of one home folder."""

    def __init__(self, home: Home, options: Options, say: Say) -> None:
        self._home = home
        self._options = options
        self._say = say
        self._pids = Pids(home)
        self._children: list[Child] = []
        self.stopping = asyncio.Event()

    async def run(
        self, when_ready: Callable[[Running], None], *, before_down: Callable[[], object] = lambda: None
    ) -> None:
        """Bring everything up, call `when_ready`, watch until `stopping` is set, bring everything down."""
        self._home.make()
        with self._home.lock():
            await asyncio.to_thread(self._pids.stop_orphans, self._say)
            watcher: asyncio.Task[None] | None = None
            try:
                running = await self._up()
                self._home.describe(running)
                watcher = asyncio.create_task(self._watch())
                await self._wait_ready(running)
                when_ready(running)
                stop = asyncio.create_task(self.stopping.wait())
                await asyncio.wait({stop, watcher}, return_when=asyncio.FIRST_COMPLETED)
                stop.cancel()
            finally:
                before_down()
                if watcher is not None:
                    watcher.cancel()
                self._say("stopping")
                await self._down()
                self._say("stopped")

    async def _up(self) -> Running:
        make_keys(self._home)
        plan = make_plan(self._options)
        started = time.monotonic()
        servers = external_servers()
        if servers is None:
            servers = await self._start_servers(plan)
        prefix, suffix = ("", "") if servers.ours else namespace(self._home)
        _, databases = await asyncio.gather(self._topics(servers, prefix), self._databases(servers.admin_dsn, suffix))
        self._say(f"{', '.join(servers.versions.values())}: ready in {time.monotonic() - started:.1f} s")
        for instance in plan.instances:
            self._add_service(instance, databases.services[instance.service], servers, plan, prefix)
        return Running(
            supervisor_pid=os.getpid(),
            intake=plan.urls("intake"),
            router=plan.urls("router"),
            presence=plan.urls("agent-presence"),
            reporting=plan.urls("reporting"),
            kafka_bootstrap=servers.bootstrap,
            topic_prefix=prefix,
            dsns={**databases.services, "admin": servers.admin_dsn},
            owner_dsns=databases.owners,
            versions=servers.versions,
            **(self._kafka_user(KAFKA_ADMIN) if servers.ours else {}),
        )

    def _kafka_user(self, user: str) -> dict[str, Any]:
        """Who comes to our own Kafka, in the words of the settings."""
        return {
            "kafka_username": user,
            "kafka_password": kafka_password(self._home, user),
            "kafka_mechanism": MECHANISM,
        }

    async def _start_servers(self, plan: Plan) -> "UsedServers":
        postgres = postgres_server.Postgres(self._home, port=plan.postgres, fast=self._options.fast)
        kafka = await asyncio.to_thread(
            lambda: kafka_server.Kafka(
                self._home,
                port=plan.kafka,
                controller_port=plan.controller,
                say=self._say,
                admin_password=kafka_password(self._home, KAFKA_ADMIN),
            )
        )
        await asyncio.gather(asyncio.to_thread(postgres.prepare), asyncio.to_thread(kafka.prepare))
        self._add("postgres", postgres.start, postgres_server.STOP_SIGNAL)
        self._add("kafka", kafka.start, kafka_server.STOP_SIGNAL)
        versions = {"postgres": postgres.version, "kafka": kafka.version}
        return UsedServers(admin_dsn=postgres.dsn, bootstrap=kafka.bootstrap, versions=versions, ours=True)

    async def _databases(self, admin_dsn: str, suffix: str) -> Databases:
        await wait_for(admin_dsn)
        databases = await create_databases(
            admin_dsn, password=lambda role: self._home.secret(f"{role}-password"), suffix=suffix
        )
        await asyncio.to_thread(migrate_all, databases)
        return databases

    async def _topics(self, servers: "UsedServers", prefix: str) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            try:
                if servers.ours:
                    await make_users_and_topics(self._home, bootstrap=servers.bootstrap, prefix=prefix)
                else:
                    await create_topics(servers.bootstrap, prefix=prefix)
                return
            except Retryable as why:
                if time.monotonic() > deadline or self._is_dead("kafka"):
                    raise Trouble(f"Kafka does not answer: {why}; see {self._home.logs / 'kafka.log'}") from why
                await asyncio.sleep(0.1)
            except ValueError as why:
                raise Trouble(str(why)) from why

    def _add_service(self, instance: Instance, dsn: str, servers: "UsedServers", plan: Plan, prefix: str) -> None:
        environment = service_environment(
            instance,
            home=self._home,
            dsn=dsn,
            bootstrap=servers.bootstrap,
            plan=plan,
            log_level=self._options.log_level,
            more={
                **({"topic_prefix": prefix} if prefix else {}),
                **(self._kafka_user(instance.service) if servers.ours else {}),
            },
        )

        def begin() -> "subprocess.Popen[bytes]":
            command = service_command(instance.service)
            return start(command, name=instance.name, home=self._home, environment=environment)

        self._add(instance.name, begin, signal.SIGTERM)

    def _add(self, name: str, begin: Callable[[], "subprocess.Popen[bytes]"], stop_signal: int) -> None:
        child = Child(name, begin, stop_signal)
        self._children.append(child)
        self._start(child)

    def _start(self, child: Child) -> None:
        child.process = child.start()
        child.started_at = time.monotonic()
        self._pids.note(child.name, child.process.pid, child.stop_signal)

    def _is_dead(self, name: str) -> bool:
        return any(c.name == name and c.process is not None and c.process.poll() is not None for c in self._children)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            now = time.monotonic()
            for child in self._children:
                if child.process is not None and child.process.poll() is not None:
                    if now - child.started_at > CALM_S:
                        child.back_off_s = BACK_OFF_FIRST_S
                    self._say(f"{child.name} ended with {child.process.returncode}: again in {child.back_off_s:.1f} s")
                    child.process = None
                    child.again_at = now + child.back_off_s
                    child.back_off_s = min(child.back_off_s * 2, BACK_OFF_MAX_S)
                if child.process is None and now >= child.again_at:
                    self._start(child)

    async def _wait_ready(self, running: Running) -> None:
        urls = [*running.intake, *running.router, *running.presence, *running.reporting]
        deadline = time.monotonic() + READY_TIMEOUT_S
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            for url in urls:
                while not await _is_ready(client, url):
                    if time.monotonic() > deadline:
                        raise Trouble(f"{url} does not get ready: see the logs under {self._home.logs}")
                    await asyncio.sleep(0.05)

    async def _down(self) -> None:
        services = [c for c in self._children if c.name.rpartition("-")[0] in SERVICES]
        servers = [c for c in self._children if c not in services]
        for group in (services, servers):
            for child in group:
                if child.process is not None and child.process.poll() is None:
                    child.process.send_signal(child.stop_signal)
            await asyncio.gather(*(asyncio.to_thread(_reap, child) for child in group))


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def _reap(child: Child) -> None:
    if child.process is None:
        return
    try:
        child.process.wait(STOP_TIMEOUT_S.get(child.name, SERVICE_STOP_TIMEOUT_S))
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()
