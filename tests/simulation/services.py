"""The four services as their composition roots build them, on tables in memory and a bus with faults."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from agent_presence.consumers import apply as apply_to_inboxes
from agent_presence.handlers import Commands, Sweeper
from agent_presence.inboxes import Inboxes
from agent_presence.leases import EndWatch, LeaseKeeper, Leases
from agent_presence.polling import Polling
from agent_presence.tail import Tail
from agent_presence.testing import (
    MemoryDirectory,
    MemoryInboxes,
    MemoryInboxTables,
    MemorySessionEnds,
    MemorySessions,
    PresenceTables,
)
from common.contracts.topics import AGENTS, CONFIG, CONTACTS, ROUTING
from common.runtime.clock import Clock, SystemClock, new_id
from common.runtime.following import Follower
from common.runtime.outbox import Outbox
from common.testing.bus import MemoryBus
from common.testing.database import MemoryOutbox, MemorySeat
from common.testing.loop import Process
from intake.consumers import apply as apply_to_contacts
from intake.handlers import Accepting, Reconciler
from intake.testing import IntakeTables, MemoryCatalogue, MemoryContacts, MemoryProjections, MemoryRepeats
from reporting.consumers import apply as apply_to_figures
from reporting.testing import MemoryReadModels, ReportingTables
from router.policies.consumers import know_skills
from router.sharding.assignment import Watch
from router.sharding.containment import Care
from router.sharding.owner import Reigns
from router.sharding.ports import Ledger, Reign
from router.sharding.worker import Shard
from router.testing import MemoryLeases, MemoryQueues, MemorySkills, RouterTables, take
from tests.simulation.faults import FaultyBus, FaultyLine
from tests.simulation.scenario import SCORERS

LEASE_S, SWEEP_EVERY_S, ANSWER_WAIT_S, POLL_MAX_S, RECONCILE_AFTER_MS = 10.0, 0.5, 5.0, 25.0, 3_000
TAKEOVER_S, SCAN_EVERY_S, RENEW_EVERY_S = 1.5, 0.15, 0.3


@dataclass(slots=True, kw_only=True)
class Databases:
    """What is durable, one of each for both replicas."""

    intake: IntakeTables
    router: RouterTables
    presence: PresenceTables
    reporting: ReportingTables


@dataclass(slots=True)
class Parts:
    """Parts that a test replaces by broken ones, to prove that they are found out."""

    shard: type[Shard] = Shard
    inboxes: type[Inboxes] = Inboxes
    ledger: Callable[[Any], Any] = lambda ledger: ledger
    sessions: type[MemorySessions] = MemorySessions
    contacts: type[MemoryContacts] = MemoryContacts
    repeats: type[MemoryRepeats] = MemoryRepeats


@dataclass(slots=True, kw_only=True)
class Wiring:
    """What a process gets: its line and bus, the databases, the parts."""

    process: Process
    line: FaultyLine
    bus: MemoryBus
    kafka: FaultyLine
    databases: Databases
    parts: Parts
    face: Any = None
    background: list[Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class IntakeFace:
    """What intake's routes call."""

    accepting: Accepting
    contacts: MemoryContacts
    relay: Outbox
    clock: Clock


@dataclass(slots=True, kw_only=True)
class RouterFace:
    """What the router's routes call, and who reigns here."""

    queues: MemoryQueues
    relay: Outbox
    reigns: Reigns


@dataclass(slots=True, kw_only=True)
class PresenceFace:
    """What agent-presence's routes call."""

    sessions: MemorySessions
    directory: MemoryDirectory
    leases: Leases
    commands: Commands
    inboxes: Inboxes
    polling: Polling
    tail: Tail
    relay: Outbox
    clock: Clock


def build_intake(wiring: Wiring) -> None:
    """As `intake.main` does."""
    tables, line, clock = wiring.databases.intake, wiring.line, SystemClock()
    bus = FaultyBus(wiring.bus, wiring.kafka)
    outbox = Outbox(
        table=MemoryOutbox(tables.server, tables.outbox, line), publisher=bus, producer="intake", topic_prefix=""
    )
    follower = Follower(
        name="intake",
        open_seat=MemorySeat.opener(
            name="intake",
            server=tables.server,
            line=line,
            positions=tables.positions,
            tables=lambda later: MemoryProjections(tables, later),
            apply=apply_to_contacts,
        ),
        bus=bus,
        topics=[CONFIG.name, ROUTING.name],
    )
    reconciler = Reconciler(repeats=wiring.parts.repeats(tables, line), clock=clock, after_ms=RECONCILE_AFTER_MS)
    contacts = wiring.parts.contacts(tables, line)
    accepting = Accepting(contacts=contacts, catalogue=MemoryCatalogue(tables, line), relay=outbox, clock=clock)
    wiring.face = IntakeFace(accepting=accepting, contacts=contacts, relay=outbox, clock=clock)
    wiring.background = [outbox.run, follower.run, reconciler.run]


def build_router(wiring: Wiring) -> None:
    """As `router.main` does."""
    tables, line, clock = wiring.databases.router, wiring.line, SystemClock()
    me = f"{wiring.process.name}/{new_id()}"
    bus = FaultyBus(wiring.bus, wiring.kafka)
    outbox = Outbox(
        table=MemoryOutbox(tables.server, tables.outbox, line), publisher=bus, producer="router", topic_prefix=""
    )
    follower = Follower(
        name="router",
        open_seat=MemorySeat.opener(
            name="router",
            server=tables.server,
            line=line,
            positions=tables.positions,
            tables=lambda later: MemorySkills(tables, later),
            apply=know_skills,
        ),
        bus=bus,
        topics=[CONFIG.name],
    )

    async def take_shard(shard: int) -> tuple[Ledger, Reign] | None:
        names = [topic.name for topic in (CONFIG, AGENTS, CONTACTS)]
        taken = await take(tables, line, shard=shard, owner=me, topics=names)
        return None if taken is None else (wiring.parts.ledger(taken[0]), taken[1])

    def make_shard(ledger: Ledger, reign: Reign, doubtful: bool, care: Care) -> Shard:
        return wiring.parts.shard(
            ledger=ledger,
            reign=reign,
            bus=bus,
            publisher=bus,
            clock=clock,
            topic_prefix="",
            doubtful=doubtful,
            scorers=SCORERS,
            care=care,
        )

    reigns = Reigns(
        leases=MemoryLeases(tables, line, me=me),
        take=take_shard,
        make_shard=make_shard,
        watch=Watch(me=me, takeover_s=TAKEOVER_S),
        scan_every_s=SCAN_EVERY_S,
        renew_every_s=RENEW_EVERY_S,
    )
    wiring.face = RouterFace(queues=MemoryQueues(tables, line, clock), relay=outbox, reigns=reigns)
    wiring.background = [reigns.run, outbox.run, follower.run]


def build_presence(wiring: Wiring) -> None:
    """As `agent_presence.main` does."""
    tables, line, clock = wiring.databases.presence, wiring.line, SystemClock()
    bus = FaultyBus(wiring.bus, wiring.kafka)
    outbox = Outbox(
        table=MemoryOutbox(tables.server, tables.outbox, line),
        publisher=bus,
        producer="agent-presence",
        topic_prefix="",
    )
    sessions = wiring.parts.sessions(tables, line, clock=clock, lease_s=LEASE_S)
    inboxes = wiring.parts.inboxes()
    tail = Tail(stored=MemoryInboxes(tables, line), bus=bus, inboxes=inboxes, topic=ROUTING.name)
    follower = Follower(
        name="agent-presence",
        open_seat=MemorySeat.opener(
            name="agent-presence",
            server=tables.server,
            line=line,
            positions=tables.positions,
            tables=lambda later: MemoryInboxTables(tables, later),
            apply=apply_to_inboxes,
        ),
        bus=bus,
        topics=[ROUTING.name],
    )
    sweeper = Sweeper(sessions, relay=outbox, lease_s=LEASE_S, every_s=SWEEP_EVERY_S)
    leases = Leases(sessions, lease_s=LEASE_S)
    wiring.face = PresenceFace(
        sessions=sessions,
        directory=MemoryDirectory(tables, line, clock),
        leases=leases,
        commands=Commands(sessions, inboxes=inboxes, relay=outbox, answer_wait_s=ANSWER_WAIT_S),
        inboxes=inboxes,
        polling=Polling(inboxes=inboxes, leases=leases, stopping=asyncio.Event()),
        tail=tail,
        relay=outbox,
        clock=clock,
    )
    watch = EndWatch(MemorySessionEnds(tables, line), leases=leases, inboxes=inboxes)
    keeper = LeaseKeeper(leases, inboxes)
    wiring.background = [outbox.run, tail.run, follower.run, sweeper.run, watch.run, keeper.run]


def build_reporting(wiring: Wiring) -> None:
    """As `reporting.main` does."""
    tables, line = wiring.databases.reporting, wiring.line
    follower = Follower(
        name="reporting",
        open_seat=MemorySeat.opener(
            name="reporting",
            server=tables.server,
            line=line,
            positions=tables.positions,
            tables=lambda later: MemoryReadModels(tables, later),
            apply=apply_to_figures,
        ),
        bus=FaultyBus(wiring.bus, wiring.kafka),
        topics=[topic.name for topic in (CONFIG, CONTACTS, AGENTS, ROUTING)],
    )
    wiring.background = [follower.run]


BUILD: dict[str, Callable[[Wiring], None]] = {
    "intake": build_intake,
    "router": build_router,
    "presence": build_presence,
    "reporting": build_reporting,
}
