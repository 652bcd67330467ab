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
from common.runtime import service
from common.runtime.service import Service

NOT_LOADED = "not loaded yet: is AGENT_PRESENCE_KAFKA_BOOTSTRAP right and Kafka up?"


def run() -> None:
    """Run agent-presence until it is told to stop."""
    service.run(Settings, _main, name="agent-presence", schema=SCHEMA, connections=6)


async def _main(own: Service[Settings]) -> None:
    settings, pool, clock = own.settings, own.pool, own.clock
    directory = PostgresDirectory(own.engine(size=2), clock)
    outbox = own.outbox()
    sessions = PostgresSessions(pool, clock=clock, lease_s=settings.lease_s)
    inboxes = Inboxes()
    tail = Tail(stored=PostgresInboxes(pool), bus=own.bus, inboxes=inboxes, topic=own.topics(ROUTING)[0])
    follower = own.follower(ROUTING, tables=PostgresInboxTables, apply=apply)
    sweeper = Sweeper(sessions, relay=outbox, lease_s=settings.lease_s, every_s=settings.sweep_every_s)
    leases = Leases(sessions, lease_s=settings.lease_s)
    watch = EndWatch(PostgresSessionEnds(settings.dsn, name=own.client_name), leases=leases, inboxes=inboxes)
    own.ready_when("inboxes", lambda: "" if tail.loaded else NOT_LOADED)
    app = own.app(
        title="Porchlight agent presence",
        description="Sign in, poll the inbox, answer offers.",
        missing=MISSING_HEADERS,
    )
    desk = Desk(
        sessions=sessions,
        leases=leases,
        skills=KnownSkills(directory),
        polling=Polling(inboxes=inboxes, leases=leases, stopping=own.running.stopping),
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
        verifier=own.verifier,
        clock=clock,
        settings=settings,
    )
    add_routes(app, desk)
    add_admin_routes(app, directory=directory, sessions=sessions, outbox=outbox, verifier=own.verifier, clock=clock)

    async def wake_on_stop() -> None:
        await own.running.stopping.wait()
        inboxes.wake_all()
        await asyncio.Event().wait()

    keeper = LeaseKeeper(leases, inboxes)
    await own.serve(app, outbox.run, tail.run, follower.run, sweeper.run, watch.run, keeper.run, wake_on_stop)
