"""Contacts for benchmarks of the router alone: written to Kafka past intake, so the history of such a run is not the clients'."""

from collections.abc import Iterable

from common.contracts.contacts import CancelRequested, ContactSubmitted
from common.contracts.topics import CONTACTS, shard_of
from common.runtime.bus import Outgoing, envelope_for, outgoing
from common.runtime.clock import SystemClock, new_id
from common.runtime.kafka import KafkaPublisher
from porchlight.installation import Running

CHUNK = 500


async def write(running: Running, facts: Iterable[ContactSubmitted | CancelRequested]) -> None:
    """Write the facts in their order, `CHUNK` at a time."""
    publisher = KafkaPublisher(running.kafka_bootstrap, name="bench-backlog", security=running.kafka_security)
    topic, clock = running.topic_prefix + CONTACTS.name, SystemClock()
    records: list[Outgoing] = []
    try:
        for fact in facts:
            envelope = envelope_for(
                fact, event_id=new_id(), at_ms=clock.now_ms(), key=fact.contact_id, producer="bench"
            )
            records.append(outgoing(topic, shard_of(fact.pool), envelope, fact))
            if len(records) >= CHUNK:
                await publisher.publish(records)
                records = []
        if records:
            await publisher.publish(records)
    finally:
        await publisher.close()
