"""What every bus promises: the same suite on the memory bus and on real Kafka."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.contracts.config import SkillDefined
from common.contracts.topics import CONFIG
from common.runtime.bus import Incoming, Outgoing, envelope_for, outgoing
from common.runtime.bus import Place as BusPlace
from common.runtime.clock import new_id
from common.runtime.failures import Retryable
from common.runtime.kafka import KafkaBus, KafkaPublisher, create_topics
from common.testing.bus import MemoryBus
from tests.integration.conftest import Place


@pytest.fixture(params=["memory", "unkind memory", "kafka"])
async def pair(request: pytest.FixtureRequest, place: Place) -> AsyncIterator[tuple[Any, Any, str]]:
    """(publisher, bus, topic prefix); each test has topics of its own."""
    prefix = f"{place.prefix}{new_id()[-6:]}."
    if request.param == "kafka":
        await create_topics(place.bootstrap, prefix=prefix)
        publisher = KafkaPublisher(place.bootstrap, name="contract")
        yield publisher, KafkaBus(place.bootstrap, name="contract"), prefix
        await publisher.close()
    else:
        bus = MemoryBus(seed=3 if request.param == "unkind memory" else None)
        yield bus, bus, prefix


def record(prefix: str, skill: str, partition: int = 0) -> Outgoing:
    fact = SkillDefined(skill=skill, version=1)
    envelope = envelope_for(fact, event_id=new_id(), at_ms=5, key=f"skill/{skill}", producer="tests")
    return outgoing(prefix + CONFIG.name, partition, envelope, fact)


def at(prefix: str, partition: int = 0) -> BusPlace:
    return BusPlace(topic=prefix + CONFIG.name, partition=partition)


async def read_until(reader: Any, skill: str, *, close: bool = True) -> list[Incoming]:
    found: list[Incoming] = []
    async with asyncio.timeout(15):
        while not any(getattr(one.fact, "skill", "") == skill for one in found):
            found += await reader.read(wait_ms=200, records_max=10)
    if close:
        await reader.close()
    return found


def skills(records: list[Incoming]) -> list[str]:
    """In order of first appearance: anything may come twice."""
    return list(dict.fromkeys(one.fact.skill for one in records if isinstance(one.fact, SkillDefined)))


async def test_what_is_acknowledged_is_read_in_the_order_of_its_partition(pair: tuple[Any, Any, str]) -> None:
    publisher, bus, prefix = pair
    for number in range(20):
        await publisher.publish([record(prefix, f"s{number}")])

    found = await read_until(await bus.reader({at(prefix): 0}, at_once=True), "s19")

    assert skills(found) == [f"s{number}" for number in range(20)]
    assert [one.offset for one in found] == list(range(len(found)))
    assert found[0].envelope is not None and found[0].envelope.key == "skill/s0"


async def test_a_reader_starts_where_it_is_told(pair: tuple[Any, Any, str]) -> None:
    publisher, bus, prefix = pair
    await publisher.publish([record(prefix, f"s{number}") for number in range(5)])
    first = await read_until(await bus.reader({at(prefix): 0}, at_once=True), "s4")
    third = next(one.offset for one in first if one.fact.skill == "s2")  # type: ignore[union-attr]

    found = await read_until(await bus.reader({at(prefix): third}, at_once=False), "s4")

    assert skills(found)[:1] == ["s2"]


async def test_the_lag_is_what_was_not_read_yet(pair: tuple[Any, Any, str]) -> None:
    publisher, bus, prefix = pair
    await publisher.publish([record(prefix, "first", 5), record(prefix, "second", 5), record(prefix, "last", 5)])
    reader = await bus.reader({at(prefix, 5): 0}, at_once=True)
    read = 0
    while read == 0:
        read += len(await reader.read(wait_ms=1_000, records_max=1))

    assert reader.lag() == {at(prefix, 5).topic: 3 - read}
    await read_until(reader, "last", close=False)
    assert reader.lag() == {at(prefix, 5).topic: 0}
    await reader.close()


async def test_the_ends_are_the_next_offsets(pair: tuple[Any, Any, str]) -> None:
    publisher, bus, prefix = pair
    await publisher.publish([record(prefix, "a", 3), record(prefix, "b", 3)])

    ends = await bus.ends([at(prefix, 3), at(prefix, 4)])

    assert ends[at(prefix, 3)] >= 2 and ends[at(prefix, 4)] == 0


async def test_a_record_that_cannot_be_read_says_why(pair: tuple[Any, Any, str]) -> None:
    publisher, bus, prefix = pair
    bad = Outgoing(topic=prefix + CONFIG.name, partition=0, key="k", headers=(("x", b"y"),), value=b"\xff")
    await publisher.publish([bad, record(prefix, "good")])

    found = await read_until(await bus.reader({at(prefix): 0}, at_once=True), "good")

    assert found[0].bad and found[0].fact is None and found[0].value == b"\xff"


async def test_nothing_to_read_is_no_error(pair: tuple[Any, Any, str]) -> None:
    _, bus, prefix = pair
    reader = await bus.reader({at(prefix, 7): 0}, at_once=True)

    assert await reader.read(wait_ms=50, records_max=10) == []
    await reader.close()


async def test_a_broker_that_is_away_is_waited_for_within_a_bound(place: Place) -> None:
    publisher = KafkaPublisher("127.0.0.1:1", name="nobody")

    with pytest.raises(Retryable):
        await publisher.publish([record(place.prefix, "x")])


async def test_topics_are_made_once_and_other_partitions_are_refused(place: Place) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    prefix = f"{place.prefix}{new_id()[-6:]}."
    first = await create_topics(place.bootstrap, prefix=prefix)
    again = await create_topics(place.bootstrap, prefix=prefix)
    admin = AIOKafkaAdminClient(bootstrap_servers=place.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(f"other.{prefix}{CONFIG.name}", 3, 1)])
    await admin.close()

    assert len(first) == 4 and again == []
    with pytest.raises(ValueError, match="has 3 partitions"):
        await create_topics(place.bootstrap, prefix=f"other.{prefix}")
