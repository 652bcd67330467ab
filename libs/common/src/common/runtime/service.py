"""The process of a service: what all four have, built once. Each service's `main.py` adds its own parts."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Generic, TypeVar

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from common.contracts.topics import Topic
from common.runtime import lifecycle
from common.runtime.bus import Incoming
from common.runtime.clock import SystemClock
from common.runtime.database import Connection, Pool, open_engine, open_pool
from common.runtime.database_probe import DatabaseProbe
from common.runtime.following import Follower, PostgresSeat, Tables
from common.runtime.http import make_app
from common.runtime.kafka import KafkaBus, KafkaPublisher
from common.runtime.kafka_login import KafkaLogin
from common.runtime.logging import configure_logging
from common.runtime.outbox import Outbox, PostgresOutbox
from common.runtime.problems import Problem
from common.runtime.refused_credentials import into_audit
from common.runtime.settings import ServiceSettings, read_settings
from common.runtime.tracing import configure_tracing, traced

S = TypeVar("S", bound=ServiceSettings)


def run(
    kind: type[S], main: Callable[["Service[S]"], Awaitable[None]], *, name: str, schema: str, connections: int
) -> None:
    """Run a service until it is told to stop.

    `name`: of the service, as topics and logs have it. `schema`: the newest migration that the code was written for.
    `connections`: of its pool to PostgreSQL, at most.
    """
    settings = read_settings(kind)
    configure_logging(service=name, instance=settings.instance, level=settings.log_level)
    configure_tracing(service=name, instance=settings.instance, url=settings.traces_url, share=settings.traces_share)

    async def open_and_run() -> None:
        async with AsyncExitStack() as stack:
            pool = await open_pool(settings.dsn, name=f"{name}-{settings.instance}", size=connections)
            stack.push_async_callback(pool.close)
            await main(Service(settings, name=name, schema=schema, pool=pool, stack=stack))

    lifecycle.run(open_and_run)


class Service(Generic[S]):
    """Settings, clock, database, Kafka and HTTP of one process. `stack` closes at its end what is pushed on it."""

    def __init__(self, settings: S, *, name: str, schema: str, pool: Pool, stack: AsyncExitStack) -> None:
        self.settings = settings
        self.name = name
        self.client_name = f"{name}-{settings.instance}"
        self.stack = stack
        self.pool = pool
        self.clock = SystemClock()
        self.bus = KafkaBus(settings.kafka_bootstrap, name=self.client_name, security=settings.kafka_security)
        kafka = KafkaPublisher(settings.kafka_bootstrap, name=self.client_name, security=settings.kafka_security)
        stack.push_async_callback(kafka.close)
        self.publisher = traced(kafka)
        self.verifier = settings.token_verifier()
        self.running = lifecycle.Running()
        prefix = str(settings.model_config.get("env_prefix", ""))
        self.probe = DatabaseProbe(
            pool,
            prefix=prefix,
            wants=schema,
            clock=self.clock,
            skew_max_s=settings.clock_skew_max_s,
            heed=self.clock.heed,
        )
        self._login = KafkaLogin(settings.kafka_bootstrap, prefix=prefix, security=settings.kafka_security)
        self._checks: list[tuple[str, Callable[[], str]]] = [
            ("kafka", self._login.trouble),
            ("kafka", kafka.trouble),
            ("token_keys", self.verifier.keys.trouble),
        ]

    def topics(self, *topics: Topic) -> list[str]:
        """Their names on this installation's Kafka."""
        return [self.settings.topic_prefix + topic.name for topic in topics]

    def engine(self, *, size: int) -> AsyncEngine:
        """An engine of at most `size` connections, disposed of at the end."""
        engine = open_engine(self.settings.dsn, name=self.client_name, size=size)
        self.stack.push_async_callback(engine.dispose)
        return engine

    def outbox(self) -> Outbox:
        """The relay of what this service's transactions say to others."""
        return Outbox(
            table=PostgresOutbox(self.pool),
            publisher=self.publisher,
            producer=self.name,
            topic_prefix=self.settings.topic_prefix,
        )

    def follower(
        self,
        *topics: Topic,
        tables: Callable[[Connection], Tables],
        apply: Callable[[Tables, Sequence[Incoming]], Awaitable[None]],
    ) -> Follower:
        """Writes what `topics` say into this service's tables, with their positions."""
        return Follower(
            name=self.name,
            open_seat=PostgresSeat.opener(name=self.name, dsn=self.settings.dsn, tables=tables, apply=apply),
            bus=self.bus,
            topics=self.topics(*topics),
        )

    def ready_when(self, part: str, trouble: Callable[[], str]) -> None:
        """The service is not ready while `trouble` says why `part` is not."""
        self._checks.append((part, trouble))

    def app(self, *, title: str, description: str, missing: Mapping[str, Problem] = MappingProxyType({})) -> FastAPI:
        """See `make_app`."""
        return make_app(
            title=title,
            description=description,
            running=self.running,
            ready=self._not_ready,
            missing=missing,
            origins=self.settings.origins,
            metrics_open=self.settings.metrics_open,
        )

    async def serve(self, app: FastAPI, *background: Callable[[], Awaitable[None]]) -> None:
        """Serve `app`, and run `background` besides what every service runs, until told to stop."""
        settings = self.settings
        await lifecycle.serve(
            app,
            host=settings.host,
            port=settings.port,
            running=self.running,
            gate=self._gate,
            background=[
                self.probe.run,
                self._login.run,
                *background,
                lambda: app.state.refused_credentials.run(into_audit(self.pool)),
            ],
            drain_s=settings.drain_s,
            stop_timeout_s=settings.stop_timeout_s,
            limits=settings.connection_limits,
        )

    async def _gate(self) -> None:
        await self.probe.wait()
        await self._login.wait()

    async def _not_ready(self) -> dict[str, str]:
        """By part, the first reason why not; empty when ready."""
        if why := await self.probe.trouble():
            return {"database": why}
        return next(({part: why} for part, trouble in self._checks if (why := trouble())), {})
