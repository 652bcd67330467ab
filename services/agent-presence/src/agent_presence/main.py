"""Composition root of agent-presence: the only place that builds."""

import asyncio

from agent_presence.adapters.directory import PostgresDirectory
from agent_presence.adapters.inbox_store import PostgresInboxes, PostgresInboxTables
from agent_presence.adapters.session_ends import PostgresSessionEnds
from agent_presence.adapters.sessions import PostgresSessions
from agent_presence.admin_api import add_admin_routes
from agent_presence.api import Desk, add_routes
from agent_presence.config import SCHEMA, Settings
from agent_presence.consumers import apply
from agent_presence.errors import MISSING_HEADERS
from agent_presence.handlers import Commands, KnownSkills, Sweeper
from agent_presence.inboxes import Inboxes
from agent_presence.leases import EndWatch, LeaseKeeper, Leases
from agent_presence.limits import AgentLimits
from agent_presence.polling import Polling
from agent_presence.tail import Tail
from common.contracts.topics import ROUTING
from common.runtime import lifecycle
from common.runtime.clock import SystemClock
from common.runtime.database import open_engine, open_pool
from common.runtime.database_probe import DatabaseProbe
from common.runtime.following import Follower, PostgresSeat
from common.runtime.http import make_app
from common.runtime.kafka import KafkaBus, KafkaPublisher
from common.runtime.logging import configure_logging
from common.runtime.outbox import Outbox, PostgresOutbox
from common.runtime.refused_credentials import into_audit
from common.runtime.settings import read_settings
from common.runtime.tracing import configure_tracing, traced


def run() -> None:
    """Run agent-presence until it is told to stop."""
    settings = read_settings(Settings)
    configure_logging(service="agent-presence", instance=settings.instance, level=settings.log_level)
    configure_tracing(
        service="agent-presence", instance=settings.instance, url=settings.traces_url, share=settings.traces_share
    )
    lifecycle.run(lambda: _main(settings))


async def _main(settings: Settings) -> None:
    async with lifecycle.closing() as stack:
        clock = SystemClock()
        dsn = settings.dsn
        name = f"agent-presence-{settings.instance}"
        topic = settings.topic_prefix + ROUTING.name
        bus = KafkaBus(settings.kafka_bootstrap, name=name, security=settings.kafka_security)
        kafka = KafkaPublisher(settings.kafka_bootstrap, name=name, security=settings.kafka_security)
        stack.push_async_callback(kafka.close)
        publisher = traced(kafka)
        pool = await open_pool(dsn, name=name, size=6)
        stack.push_async_callback(pool.close)
        probe = DatabaseProbe(
            pool,
            prefix="AGENT_PRESENCE_",
            wants=SCHEMA,
            clock=clock,
            skew_max_s=settings.clock_skew_max_s,
            heed=clock.heed,
        )
        engine = open_engine(dsn, name=name, size=2)
        stack.push_async_callback(engine.dispose)
        outbox = Outbox(
            table=PostgresOutbox(pool),
            publisher=publisher,
            producer="agent-presence",
            topic_prefix=settings.topic_prefix,
        )
        sessions = PostgresSessions(pool, clock=clock, lease_s=settings.lease_s)
        inboxes = Inboxes()
        tail = Tail(stored=PostgresInboxes(pool), bus=bus, inboxes=inboxes, topic=topic)
        follower = Follower(
            name="agent-presence",
            open_seat=PostgresSeat.opener(name="agent-presence", dsn=dsn, tables=PostgresInboxTables, apply=apply),
            bus=bus,
            topics=[topic],
        )
        sweeper = Sweeper(sessions, relay=outbox, lease_s=settings.lease_s, every_s=settings.sweep_every_s)
        leases = Leases(sessions, lease_s=settings.lease_s)
        watch = EndWatch(PostgresSessionEnds(dsn, name=name), leases=leases, inboxes=inboxes)
        verifier = settings.token_verifier()

        async def ready() -> dict[str, str]:
            if why := await probe.trouble():
                return {"database": why}
            if not tail.loaded:
                return {"inboxes": "not loaded yet: is AGENT_PRESENCE_KAFKA_BOOTSTRAP right and Kafka up?"}
            if why := kafka.trouble():
                return {"kafka": why}
            return {"token_keys": why} if (why := verifier.keys.trouble()) else {}

        running = lifecycle.Running()

        async def wake_on_stop() -> None:
            await running.stopping.wait()
            inboxes.wake_all()
            await asyncio.Event().wait()

        app = make_app(
            title="Porchlight agent presence",
            description="Sign in, poll the inbox, answer offers.",
            running=running,
            ready=ready,
            missing=MISSING_HEADERS,
            origins=settings.origins,
            metrics_open=settings.metrics_open,
        )
        directory = PostgresDirectory(engine, clock)
        desk = Desk(
            sessions=sessions,
            leases=leases,
            skills=KnownSkills(directory),
            polling=Polling(inboxes=inboxes, leases=leases, stopping=running.stopping),
            commands=Commands(sessions, inboxes=inboxes, relay=outbox, answer_wait_s=settings.answer_wait_s),
            inboxes=inboxes,
            limits=AgentLimits(
                inboxes,
                polls_max=settings.polls_max,
                sign_ins_per_min=settings.sign_ins_per_min,
                changes_per_s=settings.changes_per_s,
            ),
            tail=tail,
            outbox=outbox,
            verifier=verifier,
            clock=clock,
            settings=settings,
        )
        add_routes(app, desk)
        add_admin_routes(
            app,
            directory=directory,
            sessions=sessions,
            outbox=outbox,
            verifier=verifier,
            clock=clock,
        )
        await lifecycle.serve(
            app,
            host=settings.host,
            port=settings.port,
            running=running,
            gate=probe.wait,
            background=[
                probe.run,
                outbox.run,
                tail.run,
                follower.run,
                sweeper.run,
                watch.run,
                LeaseKeeper(leases, inboxes).run,
                wake_on_stop,
                lambda: app.state.refused_credentials.run(into_audit(pool)),
            ],
            drain_s=settings.drain_s,
            stop_timeout_s=settings.stop_timeout_s,
            limits=settings.connection_limits,
        )
