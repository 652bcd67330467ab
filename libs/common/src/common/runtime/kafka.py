"""The event bus on Apache Kafka through aiokafka: idempotent producer, `assign()` and `seek()`, no groups.

aiokafka's producer repeats a batch for ever when the broker is away, and can be wedged by a sequence error; so we bound
the wait ourselves and make a new producer after any failure. What was sent twice is recognised by who reads it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import InvalidTimestampError, KafkaError, OffsetOutOfRangeError
from aiokafka.helpers import create_ssl_context

from common.contracts.topics import CATALOGUE, SHARDS, Topic
from common.runtime.bus import Incoming, Outgoing, Place, incoming
from common.runtime.clock import SystemClock
from common.runtime.failures import Retryable

log = structlog.get_logger()

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
PUBLISH_TIMEOUT_S = 5.0
START_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 2.0
TOPIC_EXISTS = 36
"""Kafka's error code: another job was quicker."""
RECORD_BYTES_MAX = 262_144
FETCH_WAIT_MS = 500
"""Kafka answers a waiting fetch when a record arrives: this bounds an idle fetch and costs no latency."""

GATHER_WAIT_MS, GATHER_BYTES = 100, 65_536
"""A reader that need not have each record at once lets Kafka gather: every fetch names all its partitions, which costs
more than the records do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How to reach a cluster that is not open.

    `ca_file`: its authority's certificate; then the line is encrypted and the broker's name is checked. `username` and
    `password`: who we are, by `mechanism`. SCRAM proves the password without sending it, on any line. PLAIN sends it: only on
    an encrypted line, or where `trusted_line` says that the line is inside a network of the platform's own.
    """

    ca_file: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    mechanism: Mechanism = "PLAIN"
    trusted_line: bool = False

    def options(self) -> dict[str, Any]:
        """What aiokafka's clients are given. Raises `ValueError` for a password on an open line."""
        if self.username and self.mechanism == "PLAIN" and not (self.ca_file or self.trusted_line):
            raise ValueError("a Kafka user by PLAIN without KAFKA_CA_FILE would send its password in the clear")
        protocol = ("SASL_" if self.username else "") + ("SSL" if self.ca_file else "PLAINTEXT")
        found: dict[str, Any] = {"security_protocol": protocol}
        if self.ca_file:
            found["ssl_context"] = create_ssl_context(cafile=self.ca_file)
        if self.username:
            found |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return found


OPEN = Security()


class KafkaPublisher:
    """One idempotent producer, made anew after any failure."""

    def __init__(self, bootstrap: str, *, name: str, security: Security = OPEN) -> None:
        self._bootstrap = bootstrap
        self._options = security.options()
        self._name = name
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._trouble = ""

    def trouble(self) -> str:
        """Why Kafka takes nothing of ours until somebody does something; empty when it does, or is only away."""
        return self._trouble

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Send all and wait for every acknowledgement, at most `PUBLISH_TIMEOUT_S`."""
        producer = await self._started()
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                futures = [
                    await producer.send(
                        record.topic,
                        record.value,
                        key=record.key.encode(),
                        partition=record.partition,
                        headers=list(record.headers),
                        timestamp_ms=SystemClock.wall_ms(),
                    )
                    for record in records
                ]
                await asyncio.gather(*futures)
            self._trouble = ""
        except InvalidTimestampError as why:
            self._trouble = (
                "Kafka refuses the time of our records: this machine's clock is hours off the broker's, run NTP on both"
            )
            await self._drop(producer)
            raise Retryable(f"kafka: {self._trouble}") from why
        except (TimeoutError, KafkaError, OSError) as why:
            await self._drop(producer)
            raise Retryable(f"kafka: {why!r}") from why

    async def close(self) -> None:
        """Let go of the connections."""
        if self._producer is not None:
            await self._drop(self._producer)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    client_id=self._name,
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=0,
                    max_batch_size=131_072,
                    max_request_size=RECORD_BYTES_MAX,
                    request_timeout_ms=5_000,
                    retry_backoff_ms=50,
                    **self._options,
                )
                await _start(producer)
                self._producer = producer
            return self._producer

    async def _drop(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
        await _stop(producer)


class KafkaReader:
    """Reads its places from offsets that the caller keeps."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._next: dict[TopicPartition, int] = {}

    async def read(self, *, wait_ms: int, records_max: int) -> list[Incoming]:
        """What is there, after waiting `wait_ms` at most for the first record."""
        try:
            found = await self._consumer.getmany(timeout_ms=wait_ms, max_records=records_max)
        except OffsetOutOfRangeError as why:
            for place in why.args[0]:
                log.error("offset_out_of_range", topic=place.topic, partition=place.partition)
                await self._consumer.seek_to_beginning(place)
            return []
        except (KafkaError, OSError) as why:
            raise Retryable(f"kafka: {why!r}") from why
        for place, records in found.items():
            self._next[place] = records[-1].offset + 1
        return [
            incoming(record.topic, record.partition, record.offset, tuple(record.headers), record.value or b"")
            for records in found.values()
            for record in records
        ]

    def lag(self) -> dict[str, int]:
        """By topic, how many records Kafka had at the last reading that were not read yet."""
        left = dict.fromkeys((place.topic for place in self._consumer.assignment()), 0)
        for place, at in self._next.items():
            end = self._consumer.highwater(place)
            if end is not None:
                left[place.topic] += max(0, end - at)
        return left

    async def close(self) -> None:
        """Let go of the connections."""
        await _stop(self._consumer)


class KafkaBus:
    """Makes readers on one cluster."""

    def __init__(self, bootstrap: str, *, name: str, security: Security = OPEN) -> None:
        self._bootstrap = bootstrap
        self._options = security.options()
        self._name = name

    async def reader(self, offsets: dict[Place, int], *, at_once: bool) -> KafkaReader:
        """A reader of the places, each from its offset."""
        consumer = await self._consumer(at_once=at_once)
        places = {TopicPartition(place.topic, place.partition): at for place, at in offsets.items()}
        consumer.assign(list(places))
        for place, at in places.items():
            consumer.seek(place, at)
        return KafkaReader(consumer)

    async def ends(self, places: Sequence[Place]) -> dict[Place, int]:
        """The next offset of each place."""
        consumer = await self._consumer(at_once=True)
        try:
            found = await consumer.end_offsets([TopicPartition(p.topic, p.partition) for p in places])
        except (KafkaError, OSError, TimeoutError) as why:
            raise Retryable(f"kafka: {why!r}") from why
        finally:
            await _stop(consumer)
        return {Place(topic=tp.topic, partition=tp.partition): at for tp, at in found.items()}

    async def _consumer(self, *, at_once: bool) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id=self._name,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=FETCH_WAIT_MS if at_once else GATHER_WAIT_MS,
            fetch_min_bytes=1 if at_once else GATHER_BYTES,
            metadata_max_age_ms=30_000,
            request_timeout_ms=5_000,
            retry_backoff_ms=50,
            **self._options,
        )
        await _start(consumer)
        return consumer


async def create_topics(bootstrap: str, *, prefix: str, replication: int = 1, security: Security = OPEN) -> list[str]:
    """Create the catalogue's topics where they are missing; returns the names of those created, which can be used.

    Raises `Retryable` when Kafka is away, `ValueError` when a topic exists with another number of partitions.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000, **security.options())
    await _start(admin)
    wanted = {prefix + topic.name: topic for topic in CATALOGUE}
    try:
        missing = sorted(set(wanted) - set(await admin.list_topics()))
        answer: Any = await admin.create_topics([_new_topic(name, wanted[name], replication) for name in missing])
        made = [name for name, code, *_ in answer.topic_errors if code == 0]
        failed = {name: code for name, code, *_ in answer.topic_errors if code not in (0, TOPIC_EXISTS)}
        if failed:
            raise Retryable(f"kafka refuses topics, by error code: {failed}")
        async with asyncio.timeout(START_TIMEOUT_S):
            while set(wanted) - set(await admin.list_topics()):
                await asyncio.sleep(0.05)
        for found in await admin.describe_topics(sorted(wanted)):
            if len(found["partitions"]) != SHARDS:
                raise ValueError(
                    f"topic {found['topic']} has {len(found['partitions'])} partitions, the catalogue says {SHARDS}:"
                    " move its facts to a new topic, or start with an empty Kafka"
                )
        return made
    except (KafkaError, OSError, TimeoutError) as why:
        raise Retryable(f"kafka: {why!r}") from why
    finally:
        await _stop(admin)


def _new_topic(name: str, topic: Topic, replication: int) -> NewTopic:
    if topic.retention_hours is None:
        configs = {"cleanup.policy": "compact"}
    else:
        configs = {"retention.ms": str(topic.retention_hours * 3_600_000)}
    if replication > 1:
        # one broker may be lost, and nothing acknowledged with it
        configs["min.insync.replicas"] = str(replication - 1)
    return NewTopic(name, SHARDS, replication, topic_configs=configs)


async def _start(client: Any) -> None:
    try:
        await asyncio.wait_for(client.start(), START_TIMEOUT_S)
    except (TimeoutError, KafkaError, OSError) as why:
        await _stop(client)
        raise Retryable(f"kafka: {why!r}") from why


async def _stop(client: Any) -> None:
    close = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    try:
        await asyncio.wait_for(close(), STOP_TIMEOUT_S)
    except (TimeoutError, KafkaError, OSError) as why:
        log.warning("kafka_client_not_stopped", why=repr(why))
