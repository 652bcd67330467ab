"""Composition root of the router: the only place that builds."""

from collections.abc import Mapping

import httpx
from prometheus_client import REGISTRY

from common.contracts.topics import AGENTS, CONFIG, CONTACTS
from common.runtime import service
from common.runtime.clock import monotonic_s, new_id
from common.runtime.service import Service
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
from router.sharding.scorers import Scorer, load
from router.sharding.worker import Shard

LOOK_AGE_MAX_S = 5.0


def run() -> None:
    """Run the router until it is told to stop."""
    service.run(Settings, _main, name="router", schema=SCHEMA, connections=2)


async def _main(own: Service[Settings]) -> None:
    settings, clock = own.settings, own.clock
    me = f"{settings.instance}/{new_id()}"
    engine = own.engine(size=2)
    outbox = own.outbox()
    follower = own.follower(CONFIG, tables=PostgresSkills, apply=know_skills)
    http = httpx.AsyncClient(trust_env=False)  # to other routers, never by a proxy
    own.stack.push_async_callback(http.aclose)
    scorers = load(settings.scorers)
    reigns = _make_reigns(own, me, scorers)
    REGISTRY.register(StateFigures(reigns.shards, clock))
    own.ready_when("database", lambda: _leases_not_seen(reigns))
    own.ready_when("shards", lambda: reigns.trouble)
    app = own.app(title="Porchlight router", description="Queues and their state.")
    add_routes(
        app,
        queues=PostgresQueues(engine, clock),
        verifier=own.verifier,
        clock=clock,
        hand_over=outbox.hand_over,
        scorers=frozenset(scorers),
    )
    views = Views(me=me, pool=own.pool, shards=reigns.shards, clock=clock, http=http)
    add_view_routes(app, views=views, verifier=own.verifier, clock=clock)
    await own.serve(app, reigns.run, outbox.run, follower.run)


def _make_reigns(own: Service[Settings], me: str, scorers: Mapping[str, Scorer]) -> Reigns:
    settings = own.settings
    topics = own.topics(CONFIG, AGENTS, CONTACTS)
    leases = PostgresLeases(dsn=settings.dsn, me=me, url=settings.advertise_url or settings.own_url)
    own.stack.push_async_callback(leases.close)

    async def take_shard(shard: int) -> tuple[Ledger, Reign] | None:
        return await take(settings.dsn, shard=shard, owner=me, topics=topics)

    def make_shard(ledger: Ledger, reign: Reign, doubtful: bool, care: Care) -> Shard:
        return Shard(
            ledger=ledger,
            reign=reign,
            bus=own.bus,
            publisher=own.publisher,
            clock=own.clock,
            topic_prefix=settings.topic_prefix,
            doubtful=doubtful,
            scorers=scorers,
            care=care,
        )

    return Reigns(
        leases=leases,
        take=take_shard,
        make_shard=make_shard,
        watch=Watch(me=me, takeover_s=settings.takeover_ms / 1000),
        scan_every_s=settings.scan_every_ms / 1000,
        renew_every_s=settings.renew_every_ms / 1000,
    )


def _leases_not_seen(reigns: Reigns) -> str:
    late = monotonic_s() - reigns.looked_at_s > LOOK_AGE_MAX_S
    return "the leases were not seen lately" if late else ""
