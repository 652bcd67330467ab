"""Reporting counts each fact once, however often and in whatever chunks it is delivered."""

import asyncio
from collections import Counter

import asyncpg
import msgspec

from common.contracts.config import QueueDefined
from common.contracts.contacts import ContactSubmitted
from common.contracts.envelope import Envelope, to_headers
from common.contracts.topics import CONFIG, CONTACTS, ROUTING
from common.runtime.bus import Outgoing, envelope_for, outgoing
from common.runtime.database import open_engine
from common.runtime.following import Follower, PostgresSeat
from common.testing.bus import MemoryBus
from common.testing.eventually import eventually
from reporting.adapters.figures import PostgresFigures
from reporting.adapters.read_models import PostgresReadModels
from reporting.consumers import apply
from router.core import State, step
from router.core.model import decisions, events
from router.translate import body_of, fact_from, key_of
from tests.integration.conftest import Place
from tests.support.builders import arrived, asked, queue, seen

QUEUE = QueueDefined(
    queue="billing",
    pool="p",
    version=1,
    requirements=(),
    priority=0,
    offer_timeout_ms=20_000,
    wrap_up_ms=0,
    link_grace_ms=1,
    service_level_ms=150,
)


def story() -> list[tuple[decisions.Output, int]]:
    """Forty contacts: answered at once or late, abandoned, or still waiting."""
    state, decided, now_ms = State(), [], 1_000
    step(state, events.QueueSet(queue=queue()), now_ms)
    decided += [(one, now_ms) for one in step(state, seen("ann"), now_ms)]
    for number in range(40):
        now_ms += 100
        name = f"c{number}"
        told: list[events.Input] = [arrived(name, accepted_at_ms=now_ms - (number % 3) * 100)]
        if number == 39:
            told = [events.CancelAsked(contact_id="none", reason="withdrawn"), *told]
        elif number % 4 == 3:
            told.append(events.CancelAsked(contact_id=name, reason="customer_gave_up"))
        else:
            told.append(asked("accept", contact_id=name, command_id=f"a{number}"))
            told.append(asked("complete", contact_id=name, command_id=f"b{number}"))
        decided += [(output, now_ms) for one in told for output in step(state, one, now_ms)]
    return decided


def records(decided: list[tuple[decisions.Output, int]]) -> list[Outgoing]:
    found = []
    for number, (output, at_ms) in enumerate(decided, start=1):
        fact = fact_from(output, at_ms=at_ms)
        envelope = Envelope(
            event_id=f"r-3-{number}",
            type=str(msgspec.json.decode(body_of(fact))["type"]),
            occurred_at_ms=at_ms,
            key=key_of(output),
            producer="router",
            sequence=number,
            epoch=1,
        )
        found.append(
            Outgoing(
                topic=ROUTING.name,
                partition=3,
                key=key_of(output),
                headers=to_headers(envelope),
                value=body_of(fact).encode(),
            )
        )
    return found


async def test_unkind_delivery_changes_no_figure(place: Place) -> None:
    decided = story()
    bus = MemoryBus(seed=11)
    told = envelope_for(QUEUE, event_id="q", at_ms=1, key="queue/billing", producer="router")
    await bus.publish([outgoing(CONFIG.name, 3, told, QUEUE)])
    submitted = ContactSubmitted(
        contact_id="c0", pool="p", queue="billing", channel="voice", priority=0, requirements=(), accepted_at_ms=1_100
    )
    envelope = envelope_for(submitted, event_id="s", at_ms=1, key="c0", producer="intake")
    for _ in range(3):
        await bus.publish([outgoing(CONTACTS.name, 3, envelope, submitted)])
    await bus.publish([Outgoing(topic=ROUTING.name, partition=3, key="x", headers=(("a", b"b"),), value=b"\xff")])
    for record in records(decided):
        await bus.publish([record])

    dsn = place.dsns["reporting"]
    topics = [CONFIG.name, CONTACTS.name, ROUTING.name]
    seats = PostgresSeat.opener(name="reporting", dsn=dsn, tables=PostgresReadModels, apply=apply)
    followers = [Follower(name="reporting", open_seat=seats, bus=bus, topics=topics) for _ in range(2)]
    running = [asyncio.create_task(follower.run()) for follower in followers]
    connection = await asyncpg.connect(dsn)

    async def all_in() -> bool:
        return bool(
            await connection.fetchval("SELECT last_seq FROM position WHERE topic = 'routing.v1'") == len(decided)
        )

    await eventually(all_in, within_s=20)
    assert [follower.leads for follower in followers].count(True) == 1, "one replica at a time"
    engine = open_engine(dsn, name="t", size=1)
    found = await PostgresFigures(engine).summary("billing", from_ms=0, to_ms=10_000_000, now_ms=10_000_000)
    await engine.dispose()

    kinds = Counter(type(output).__name__ for output, _ in decided)
    assert found is not None
    assert (found["offered"], found["answered"], found["abandoned"], found["waiting"]) == (
        kinds["Queued"],
        kinds["Accepted"],
        kinds["Abandoned"],
        kinds["Queued"] - kinds["Accepted"] - kinds["Abandoned"],
    )
    assert (kinds["Queued"], kinds["Accepted"], kinds["Abandoned"]) == (40, 30, 9)
    assert await connection.fetchval("SELECT count(*) FROM step") == sum(
        isinstance(output, decisions.ContactDecision) for output, _ in decided
    )
    owner = await asyncpg.connect(place.owners["reporting"])
    assert await owner.fetchval("SELECT count(*) FROM parked") == 1
    await owner.close()
    assert await connection.fetchval("SELECT count(*) FROM submission") == 1
    waits = [number % 3 * 100 for number in range(40) if number % 4 != 3]
    assert found["asa_ms"] == sum(waits) / len(waits)
    assert found["service_level"] == sum(wait <= 150 for wait in waits) / 39
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await connection.close()
