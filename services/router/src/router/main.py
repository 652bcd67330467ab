"""Composition root of the router: the only place that builds."""

import httpx
from prometheus_client import REGISTRY

from common.contracts.topics import AGENTS, CONFIG, CONTACTS
from common.runtime import lifecycle
from common.runtime.clock import SystemClock, monotonic_s, new_id
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
from router.adapters.leases import PostgresLeases
from router.adapters.ledger import take
from router.adapters.queues import PostgresQueues, PostgresSkills
from router.config import SCHEMA, Settings
from router.inspection.api import add_view_routes
from router.inspection.collectors import StateFigures
from router.inspection.queries import Views
from router.policies.api import add_routes
from router.policies.consumers import know_skills
from router.sharding.assignment import Watch
from router.sharding.containment import Care
from router.sharding.owner import Reigns
from router.sharding.ports import Ledger, Reign
from router.sharding.scorers import load
from router.sharding.worker import Shard

LOOK_AGE_MAX_S = 5.0


def run() -> None:
    """Run the router until it is told to stop."""
    settings = read_settings(Settings)
    configure_logging(service="router", instance=settings.instance, level=settings.log_level)
    configure_tracing(
        service="router", instance=settings.instance, url=settings.traces_url, share=settings.traces_share
    )
    lifecycle.run(lambda: _main(settings))


async def _main(settings: Settings) -> None:
    async with lifecycle.closing() as stack:
        clock = SystemClock()
        dsn = settings.dsn
        me = f"{settings.instance}/{new_id()}"
        name = f"router-{settings.instance}"
        bus = KafkaBus(settings.kafka_bootstrap, name=name, security=settings.kafka_security)
        kafka = KafkaPublisher(settings.kafka_bootstrap, name=name, security=settings.kafka_security)
        stack.push_async_callback(kafka.close)
        publisher = traced(kafka)
        pool = await open_pool(dsn, name=name, size=2)
        stack.push_async_callback(pool.close)
        probe = DatabaseProbe(
            pool, prefix="ROUTER_", wants=SCHEMA, clock=clock, skew_max_s=settings.clock_skew_max_s, heed=clock.heed
        )
        engine = open_engine(dsn, name=name, size=2)
        stack.push_async_callback(engine.dispose)
        outbox = Outbox(
            table=PostgresOutbox(pool), publisher=publisher, producer="router", topic_prefix=settings.topic_prefix
        )
        follower = Follower(
            name="router",
            open_seat=PostgresSeat.opener(name="router", dsn=dsn, tables=PostgresSkills, apply=know_skills),
            bus=bus,
            topics=[settings.topic_prefix + CONFIG.name],
        )
        topics = [settings.topic_prefix + topic.name for topic in (CONFIG, AGENTS, CONTACTS)]
        url = settings.advertise_url or settings.own_url
        leases = PostgresLeases(dsn=dsn, me=me, url=url)
        scorers = load(settings.scorers)
        http = httpx.AsyncClient(trust_env=False)  # to other routers, never by a proxy
        stack.push_async_callback(http.aclose)
        stack.push_async_callback(leases.close)

        async def take_shard(shard: int) -> tuple[Ledger, Reign] | None:
            return await take(dsn, shard=shard, owner=me, topics=topics)

        def make_shard(ledger: Ledger, reign: Reign, doubtful: bool, care: Care) -> Shard:
            return Shard(
                ledger=ledger,
                reign=reign,
                bus=bus,
                publisher=publisher,
                clock=clock,
                topic_prefix=settings.topic_prefix,
                doubtful=doubtful,
                scorers=scorers,
                care=care,
            )

        reigns = Reigns(
            leases=leases,
            take=take_shard,
            make_shard=make_shard,
            watch=Watch(me=me, takeover_s=settings.takeover_ms / 1000),
            scan_every_s=settings.scan_every_ms / 1000,
            renew_every_s=settings.renew_every_ms / 1000,
        )

        REGISTRY.register(StateFigures(reigns.shards, clock))

        verifier = settings.token_verifier()

        async def ready() -> dict[str, str]:
            why = await probe.trouble()
            if not why and monotonic_s() - reigns.looked_at_s > LOOK_AGE_MAX_S:
                why = "the leases were not seen lately"
            if why:
                return {"database": why}
            if why := reigns.trouble:
                return {"shards": why}
            if why := kafka.trouble():
                return {"kafka": why}
            return {"token_keys": why} if (why := verifier.keys.trouble()) else {}

        running = lifecycle.Running()
        app = make_app(
            title="Porchlight router",
            description="Queues and their state.",
            running=running,
            ready=ready,
            origins=settings.origins,
            metrics_open=settings.metrics_open,
        )
        add_routes(
            app,
            queues=PostgresQueues(engine, clock),
            verifier=verifier,
            clock=clock,
            hand_over=outbox.hand_over,
            scorers=frozenset(scorers),
        )
        views = Views(me=me, pool=pool, shards=reigns.shards, clock=clock, http=http)
        add_view_routes(app, views=views, verifier=verifier, clock=clock)
        await lifecycle.serve(
            app,
            host=settings.host,
            port=settings.port,
            running=running,
            gate=probe.wait,
            background=[
                probe.run,
                reigns.run,
                outbox.run,
                follower.run,
                lambda: app.state.refused_credentials.run(into_audit(pool)),
            ],
            drain_s=settings.drain_s,
            stop_timeout_s=settings.stop_timeout_s,
            limits=settings.connection_limits,
        )
