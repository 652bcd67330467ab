"""The event bus port: publish and wait for every acknowledgement; read partitions from an offset of ours."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from common.contracts.codec import BadFact, decode, encode, type_of
from common.contracts.envelope import BadEnvelope, Envelope, Headers, from_headers, to_headers


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A record to publish."""

    topic: str
    partition: int
    key: str
    headers: Headers
    value: bytes


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """A record as read. `fact` is None for a type we do not know; `bad` says why a record cannot be read, and then there may be
    no envelope.
    """

    topic: str
    partition: int
    offset: int
    headers: Headers
    value: bytes
    envelope: Envelope | None = None
    fact: msgspec.Struct | None = None
    bad: str = ""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A partition of a topic."""

    topic: str
    partition: int


class Publisher(Protocol):
    """Raises `Retryable` when not every record was acknowledged in time; some may have been."""

    async def publish(self, records: Sequence[Outgoing]) -> None: ...


class Reader(Protocol):
    """Reads what it was given to read; nobody rebalances it. Raises `Retryable` when the bus is away."""

    async def read(self, *, wait_ms: int, records_max: int) -> list[Incoming]: ...

    def lag(self) -> dict[str, int]:
        """By topic, how many records the bus had at the last reading that were not read yet."""
        ...

    async def close(self) -> None: ...


class Bus(Protocol):
    """Makes readers. `offsets`: where to start; a place without one starts at the beginning."""

    async def reader(self, offsets: dict[Place, int], *, at_once: bool) -> Reader:
        """`at_once`: a record is read when it arrives; else within a tenth of a second, at far less cost."""
        ...

    async def ends(self, places: Sequence[Place]) -> dict[Place, int]:
        """The offset that the next record of each place will get."""
        ...


def outgoing(topic: str, partition: int, envelope: Envelope, fact: msgspec.Struct) -> Outgoing:
    """A fact, ready to publish."""
    return Outgoing(
        topic=topic,
        partition=partition,
        key=envelope.key,
        headers=to_headers(envelope),
        value=encode(fact),
    )


def envelope_for(
    fact: msgspec.Struct, *, event_id: str, at_ms: int, key: str, producer: str, correlation_id: str = ""
) -> Envelope:
    """The envelope of a fact that has no place in a log."""
    return Envelope(
        event_id=event_id,
        type=type_of(fact),
        occurred_at_ms=at_ms,
        key=key,
        producer=producer,
        correlation_id=correlation_id,
    )


def incoming(topic: str, partition: int, offset: int, headers: Headers, value: bytes) -> Incoming:
    """A record with its envelope and fact decoded, or with the reason why that cannot be done."""
    raw = {"topic": topic, "partition": partition, "offset": offset, "headers": headers, "value": value}
    envelope: Envelope | None = None
    try:
        envelope = from_headers(headers)
        fact = decode(envelope.type, value)
    except (BadEnvelope, BadFact) as why:
        return Incoming(**raw, envelope=envelope, bad=str(why))  # type: ignore[arg-type]
    return Incoming(**raw, envelope=envelope, fact=fact)  # type: ignore[arg-type]
