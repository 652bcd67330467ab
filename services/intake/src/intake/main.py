"""Composition root of intake: the only place that builds."""

from common.contracts.topics import CONFIG, ROUTING
from common.runtime import lifecycle
from common.runtime.clock import SystemClock
from common.runtime.database import open_pool
from common.runtime.database_probe import DatabaseProbe
from common.runtime.following import Follower, PostgresSeat
from common.runtime.http import make_app
from common.runtime.kafka import KafkaBus, KafkaPublisher
from common.runtime.logging import configure_logging
from common.runtime.outbox import Outbox, PostgresOutbox
from common.runtime.rates import RequestRate
from common.runtime.refused_credentials import into_audit
from common.runtime.settings import read_settings
from common.runtime.tracing import configure_tracing, traced
from intake.adapters.catalogue import PostgresCatalogue
from intake.adapters.contacts import PostgresContacts
from intake.adapters.keys import PostgresKeys
from intake.adapters.projections import PostgresProjections, PostgresRepeats
from intake.admin_api import add_admin_routes
from intake.api import add_routes
from intake.config import SCHEMA, Settings
from intake.consumers import apply
from intake.errors import MISSING_HEADERS
from intake.handlers import Accepting, Reconciler
from intake.limits import Waiting


def run() -> None:
    """Run intake until it is told to stop."""
    settings = read_settings(Settings)
    configure_logging(service="intake", instance=settings.instance, level=settings.log_level)
    configure_tracing(
        service="intake", instance=settings.instance, url=settings.traces_url, share=settings.traces_share
    )
    lifecycle.run(lambda: _main(settings))


async def _main(settings: Settings) -> None:
    async with lifecycle.closing() as stack:
        clock = SystemClock()
        dsn = settings.dsn
        name = f"intake-{settings.instance}"
        kafka = KafkaPublisher(settings.kafka_bootstrap, name=name, security=settings.kafka_security)
        stack.push_async_callback(kafka.close)
        publisher = traced(kafka)
        pool = await open_pool(dsn, name=name, size=6)
        stack.push_async_callback(pool.close)
        probe = DatabaseProbe(
            pool, prefix="INTAKE_", wants=SCHEMA, clock=clock, skew_max_s=settings.clock_skew_max_s, heed=clock.heed
        )
        outbox = Outbox(
            table=PostgresOutbox(pool), publisher=publisher, producer="intake", topic_prefix=settings.topic_prefix
        )
        follower = Follower(
            name="intake",
            open_seat=PostgresSeat.opener(name="intake", dsn=dsn, tables=PostgresProjections, apply=apply),
            bus=KafkaBus(settings.kafka_bootstrap, name=name, security=settings.kafka_security),
            topics=[settings.topic_prefix + topic.name for topic in (CONFIG, ROUTING)],
        )
        reconciler = Reconciler(repeats=PostgresRepeats(pool), clock=clock, after_ms=settings.reconcile_after_ms)

        verifier = settings.token_verifier()

        async def ready() -> dict[str, str]:
            if why := await probe.trouble():
                return {"database": why}
            if why := kafka.trouble():
                return {"kafka": why}
            return {"token_keys": why} if (why := verifier.keys.trouble()) else {}

        running = lifecycle.Running()
        app = make_app(
            title="Porchlight intake",
            description="Post contacts and follow them.",
            running=running,
            ready=ready,
            missing=MISSING_HEADERS,
            origins=settings.origins,
            metrics_open=settings.metrics_open,
        )
        contacts = PostgresContacts(pool)
        keys = PostgresKeys(pool, pepper=settings.key_pepper.get_secret_value())
        add_routes(
            app,
            accepting=Accepting(
                contacts=contacts,
                catalogue=PostgresCatalogue(pool),
                relay=outbox,
                clock=clock,
                waiting=Waiting(contacts, waiting_max=settings.waiting_max),
            ),
            contacts=contacts,
            keys=keys,
            rate=RequestRate(per_s=settings.key_requests_per_s, burst=settings.key_burst),
            verifier=verifier,
            relay=outbox,
            clock=clock,
        )
        add_admin_routes(app, keys=keys, verifier=verifier, clock=clock)
        await lifecycle.serve(
            app,
            host=settings.host,
            port=settings.port,
            running=running,
            gate=probe.wait,
            background=[
                probe.run,
                outbox.run,
                follower.run,
                reconciler.run,
                keys.run,
                lambda: app.state.refused_credentials.run(into_audit(pool)),
            ],
            drain_s=settings.drain_s,
            stop_timeout_s=settings.stop_timeout_s,
            limits=settings.connection_limits,
        )
