"""Composition root of reporting: the only place that builds."""

from common.contracts.topics import AGENTS, CONFIG, CONTACTS, ROUTING
from common.runtime import lifecycle
from common.runtime.auth import TokenVerifier
from common.runtime.clock import SystemClock
from common.runtime.database import borrowed, open_engine, open_pool
from common.runtime.failures import Retryable
from common.runtime.following import Follower
from common.runtime.http import make_app
from common.runtime.kafka import KafkaBus
from common.runtime.logging import configure_logging
from common.runtime.settings import read_settings
from reporting.adapters.figures import Figures
from reporting.adapters.read_models import apply
from reporting.api import add_routes
from reporting.config import Settings


def run() -> None:
    """Run reporting until it is told to stop."""
    settings = read_settings(Settings)
    configure_logging(service="reporting", instance=settings.instance, level=settings.log_level)
    lifecycle.run(lambda: _main(settings))


async def _main(settings: Settings) -> None:
    async with lifecycle.closing() as stack:
        clock = SystemClock()
        dsn = settings.database_url.get_secret_value()
        name = f"reporting-{settings.instance}"
        pool = await open_pool(dsn, name=name, size=1)
        stack.push_async_callback(pool.close)
        engine = open_engine(dsn, name=name, size=4)
        stack.push_async_callback(engine.dispose)
        follower = Follower(
            name="reporting",
            dsn=dsn,
            bus=KafkaBus(settings.kafka_bootstrap, name=name),
            topics=[settings.topic_prefix + topic.name for topic in (CONFIG, CONTACTS, AGENTS, ROUTING)],
            apply=apply,
        )

        async def ready() -> dict[str, str]:
            try:
                async with borrowed(pool) as connection:
                    await connection.fetchval("SELECT 1")
            except Retryable:
                return {"database": "not reachable: is REPORTING_DATABASE_URL right and the server up?"}
            return {}

        running = lifecycle.Running()
        app = make_app(title="Porchlight reporting", description="Figures and journeys.", running=running, ready=ready)
        links = [pair.partition("=")[::2] for pair in settings.status_links.split(",") if pair]
        add_routes(
            app,
            figures=Figures(engine),
            verifier=TokenVerifier(
                jwks_file=settings.jwks_file, issuer=settings.token_issuer, audience=settings.token_audience
            ),
            clock=clock,
            links=links,
        )
        await lifecycle.serve(
            app,
            host=settings.host,
            port=settings.port,
            running=running,
            background=[follower.run],
            stop_timeout_s=settings.stop_timeout_s,
        )
