"""Composition root of reporting: the only place that builds."""

from common.contracts.topics import AGENTS, CONFIG, CONTACTS, ROUTING
from common.runtime import lifecycle
from common.runtime.clock import SystemClock
from common.runtime.database import open_engine, open_pool
from common.runtime.database_probe import DatabaseProbe
from common.runtime.following import Follower, PostgresSeat
from common.runtime.http import make_app
from common.runtime.kafka import KafkaBus
from common.runtime.logging import configure_logging
from common.runtime.refused_credentials import into_audit
from common.runtime.settings import read_settings
from common.runtime.tracing import configure_tracing
from reporting.adapters.figures import PostgresFigures
from reporting.adapters.read_models import PostgresReadModels
from reporting.adapters.sampling import Sampler
from reporting.api import add_routes
from reporting.config import SCHEMA, Settings
from reporting.consumers import apply


def run() -> None:
    """Run reporting until it is told to stop."""
    settings = read_settings(Settings)
    configure_logging(service="reporting", instance=settings.instance, level=settings.log_level)
    configure_tracing(
        service="reporting", instance=settings.instance, url=settings.traces_url, share=settings.traces_share
    )
    lifecycle.run(lambda: _main(settings))


async def _main(settings: Settings) -> None:
    async with lifecycle.closing() as stack:
        clock = SystemClock()
        dsn = settings.dsn
        name = f"reporting-{settings.instance}"
        pool = await open_pool(dsn, name=name, size=1)
        stack.push_async_callback(pool.close)
        probe = DatabaseProbe(
            pool, prefix="REPORTING_", wants=SCHEMA, clock=clock, skew_max_s=settings.clock_skew_max_s, heed=clock.heed
        )
        engine = open_engine(dsn, name=name, size=4)
        stack.push_async_callback(engine.dispose)
        follower = Follower(
            name="reporting",
            open_seat=PostgresSeat.opener(name="reporting", dsn=dsn, tables=PostgresReadModels, apply=apply),
            bus=KafkaBus(settings.kafka_bootstrap, name=name, security=settings.kafka_security),
            topics=[settings.topic_prefix + topic.name for topic in (CONFIG, CONTACTS, AGENTS, ROUTING)],
        )

        verifier = settings.token_verifier()

        async def ready() -> dict[str, str]:
            if why := await probe.trouble():
                return {"database": why}
            return {"token_keys": why} if (why := verifier.keys.trouble()) else {}

        figures = PostgresFigures(engine)
        running = lifecycle.Running()
        app = make_app(
            title="Porchlight reporting",
            description="Figures and journeys.",
            running=running,
            ready=ready,
            origins=settings.origins,
            metrics_open=settings.metrics_open,
        )
        links = [pair.partition("=")[::2] for pair in settings.status_links.split(",") if pair]
        add_routes(
            app,
            figures=figures,
            verifier=verifier,
            clock=clock,
            links=links,
        )
        await lifecycle.serve(
            app,
            host=settings.host,
            port=settings.port,
            running=running,
            gate=probe.wait,
            background=[
                probe.run,
                follower.run,
                Sampler(figures, clock).run,
                lambda: app.state.refused_credentials.run(into_audit(pool)),
            ],
            drain_s=settings.drain_s,
            stop_timeout_s=settings.stop_timeout_s,
            limits=settings.connection_limits,
        )
