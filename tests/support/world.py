"""Intake's accepting half, one router shard and hasty agents in this process, on real PostgreSQL and real Kafka.

Parts can be replaced by broken ones, to prove that the history checker finds what they do.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import msgspec

from common.contracts import agents, config, routing
from common.contracts.policies import QueuePolicy
from common.contracts.topics import AGENTS, CONFIG, CONTACTS, ROUTING, shard_of
from common.runtime.bus import Place, envelope_for, outgoing
from common.runtime.clock import SystemClock, new_id
from common.runtime.database import Pool, open_pool
from common.runtime.following import Follower, PostgresSeat
from common.runtime.kafka import KafkaBus, KafkaPublisher
from common.runtime.outbox import Outbox, PostgresOutbox
from common.testing.eventually import eventually
from intake.adapters.catalogue import PostgresCatalogue
from intake.adapters.contacts import PostgresContacts
from intake.adapters.projections import PostgresProjections
from intake.consumers import apply
from intake.domain import NewContact, Receipt, Wishes
from intake.handlers import Accepting
from router.adapters.ledger import PostgresLedger, take
from router.sharding.ports import Reign
from router.sharding.worker import Shard
from tests.support.history import History, Verdict, check, load

POOL, QUEUE = "world", "world"
SHARD = shard_of(POOL)


class World:
    """See the module."""

    def __init__(self, *, dsns: dict[str, str], bootstrap: str, prefix: str) -> None:
        self.dsns, self.bootstrap, self.prefix = dsns, bootstrap, prefix
        self.clock = SystemClock()
        self.publisher = KafkaPublisher(bootstrap, name="world")
        self.bus = KafkaBus(bootstrap, name="world")
        self.journal: list[dict[str, Any]] = []
        self.pool: Pool
        self.router: asyncpg.Connection[asyncpg.Record]
        self.accepting: Accepting
        self.outbox: Outbox
        self.tasks: list[asyncio.Task[None]] = []

    def note(self, what: str, **fields: Any) -> None:
        self.journal.append({"what": what, "at_ms": time.time_ns() // 1_000_000, **fields})

    async def publish(self, topic: str, fact: Any, key: str) -> None:
        envelope = envelope_for(fact, event_id=new_id(), at_ms=self.clock.now_ms(), key=key, producer="world")
        await self.publisher.publish([outgoing(self.prefix + topic, SHARD, envelope, fact)])

    async def define_queue(self) -> None:
        row = (QUEUE, POOL, SHARD, 1, "[]", 0, 20_000, 0, 15_000, 20_000)
        await self.router.execute("INSERT INTO queue VALUES ($1,$2,$3,$4,$5::jsonb,$6,$7,$8,$9,$10)", *row)
        async with self.pool.acquire() as connection:
            await connection.execute("INSERT INTO queue VALUES ($1, $2, 1, 0)", QUEUE, POOL)
        fact = config.QueueDefined(
            queue=QUEUE,
            pool=POOL,
            version=1,
            requirements=(),
            priority=0,
            offer_timeout_ms=20_000,
            wrap_up_ms=0,
            link_grace_ms=15_000,
            service_level_ms=20_000,
        )
        await self.publish(CONFIG.name, fact, f"queue/{QUEUE}")

    async def define_again(self, queue: str = QUEUE, *, version: int, **policy: Any) -> None:
        """Define a queue with a policy, as an administrator does who changes the world's or adds one."""
        text = json.dumps(policy)
        row = (queue, POOL, SHARD, version, "[]", 0, 20_000, 0, 15_000, 20_000, text)
        await self.router.execute(
            "INSERT INTO queue VALUES ($1,$2,$3,$4,$5::jsonb,$6,$7,$8,$9,$10,$11::jsonb)"
            " ON CONFLICT (queue_id) DO UPDATE SET version = excluded.version, policy = excluded.policy",
            *row,
        )
        fact = config.QueueDefined(
            queue=queue,
            pool=POOL,
            version=version,
            requirements=(),
            priority=0,
            offer_timeout_ms=20_000,
            wrap_up_ms=0,
            link_grace_ms=15_000,
            service_level_ms=20_000,
            policy=msgspec.convert(policy, QueuePolicy),
        )
        await self.publish(CONFIG.name, fact, f"queue/{queue}")

    async def sign_in(self, agent: str, *, session_no: int = 1, units: int = 6) -> None:
        fact = agents.SessionStarted(
            agent_id=agent,
            pool=POOL,
            session_no=session_no,
            seq=session_no,
            presence="available",
            skills={},
            units=units,
            at_ms=self.clock.now_ms(),
        )
        await self.publish(AGENTS.name, fact, agent)

    async def post(self, key: str | None = None) -> str:
        key = key or new_id()
        self.note("post", key=key, queue=QUEUE)
        done = await self.accepting.accept(new_contact(key))
        assert isinstance(done, Receipt), done
        self.note("posted", key=key, contact_id=done.contact_id, queue=QUEUE)
        return done.contact_id

    async def take_shard(self) -> tuple[PostgresLedger, Reign]:
        topics = [self.prefix + topic.name for topic in (CONFIG, AGENTS, CONTACTS)]
        taken = await take(self.dsns["router"], shard=SHARD, owner="world", topics=topics)
        assert taken is not None, "somebody else holds the shard"
        return taken

    async def reign(self, kind: type[Shard] = Shard) -> Shard:
        ledger, reign = await self.take_shard()
        shard = kind(
            ledger=ledger,
            reign=reign,
            bus=self.bus,
            publisher=self.publisher,
            clock=self.clock,
            topic_prefix=self.prefix,
        )
        self.tasks.append(asyncio.create_task(shard.run()))
        return shard

    async def command(self, kind: type[agents.AgentCommand], *, agent: str, contact_id: str, attempt: int) -> str:
        command_id = new_id()
        fact = kind(
            command_id=command_id,
            agent_id=agent,
            pool=POOL,
            session_no=1,
            contact_id=contact_id,
            attempt=attempt,
            issued_at_ms=self.clock.now_ms(),
        )
        await self.publish(AGENTS.name, fact, agent)
        return command_id

    async def answer_offers(self, *, complete: bool = True) -> None:
        """Every agent accepts what it is offered and completes it. Runs until cancelled."""
        place = Place(topic=self.prefix + ROUTING.name, partition=SHARD)
        reader = await self.bus.reader({place: 0}, at_once=True)
        asked: dict[str, dict[str, Any]] = {}
        try:
            while True:
                for record in await reader.read(wait_ms=200, records_max=100):
                    fact = record.fact
                    if isinstance(fact, routing.OfferMade):
                        about = {"agent_id": fact.agent_id, "contact_id": fact.contact_id, "attempt": fact.attempt}
                        self.note("offer_seen", **about)
                        command_id = await self.command(
                            agents.AcceptRequested,
                            agent=fact.agent_id,
                            contact_id=fact.contact_id,
                            attempt=fact.attempt,
                        )
                        asked[command_id] = {**about, "verb": "accept", "command_id": command_id}
                    elif isinstance(fact, routing.OfferAccepted):
                        self.note("command_answered", status=200, **asked.get(fact.command_id, {"verb": "?"}))
                        if complete:
                            await self.command(
                                agents.CompleteRequested,
                                agent=fact.agent_id,
                                contact_id=fact.contact_id,
                                attempt=fact.attempt,
                            )
        finally:
            await reader.close()

    async def ended(self, number: int, *, within_s: float = 20.0) -> None:
        async def look() -> bool:
            return bool(
                await self.router.fetchval("SELECT count(*) FROM contact WHERE ended_at_ms IS NOT NULL") >= number
            )

        await eventually(look, within_s=within_s, what=f"{number} ended contacts")

    async def history(self) -> History:
        history = await load(dsns=self.dsns, kafka={"bootstrap_servers": self.bootstrap}, topic_prefix=self.prefix)
        history.journals = self.journal
        return history

    async def verdict(self, *, settled: bool = True) -> Verdict:
        return check(await self.history(), settled=settled)

    async def settle(self) -> None:
        """Wait until intake knows as much as the log."""

        async def same() -> bool:
            found = await self.history()
            published = {(one.shard, one.seq) for one in found.published}
            behind = [one for one in found.log if (one.shard, one.seq) not in published]
            other = [
                one
                for one, row in found.accepted.items()
                if one in found.contacts and found.contacts[one][0] != row["state"]
            ]
            return not behind and not other

        await eventually(same, within_s=10, what="everybody knows as much as the log")


def new_contact(key: str) -> NewContact:
    return NewContact(
        wishes=Wishes(),
        client_id="world",
        idempotency_key=key,
        body_hash=b"h",
        queue=QUEUE,
        channel="voice",
        priority=None,
        requirements=(),
        external_id=None,
        customer=None,
        correlation_id="the-correlation",
    )


Make = Callable[["World"], None]


@asynccontextmanager
async def opened(*, dsns: dict[str, str], bootstrap: str, prefix: str, relay: bool = True) -> AsyncIterator[World]:
    """A world with a queue, whose tasks end with the block."""
    world = World(dsns=dsns, bootstrap=bootstrap, prefix=prefix)
    world.pool = await open_pool(dsns["intake"], name="world", size=8)
    world.router = await asyncpg.connect(dsns["router"])
    world.outbox = Outbox(
        table=PostgresOutbox(world.pool), publisher=world.publisher, producer="intake", topic_prefix=prefix
    )
    world.accepting = Accepting(
        contacts=PostgresContacts(world.pool),
        catalogue=PostgresCatalogue(world.pool),
        relay=world.outbox,
        clock=world.clock,
    )
    seats = PostgresSeat.opener(name="intake", dsn=dsns["intake"], tables=PostgresProjections, apply=apply)
    follower = Follower(name="intake", open_seat=seats, bus=world.bus, topics=[prefix + ROUTING.name])
    world.tasks = [asyncio.create_task(follower.run())]
    if relay:
        world.tasks.append(asyncio.create_task(world.outbox.run()))
    try:
        await world.define_queue()
        yield world
    finally:
        for task in world.tasks:
            task.cancel()
        for task in world.tasks:
            with suppress(BaseException):
                await task
        await world.publisher.close()
        await world.router.close()
        await world.pool.close()
