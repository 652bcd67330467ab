"""What should never be there: keys that cannot be read, records in the routing log that are not the router's, a log with a hole."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from common.contracts.topics import ROUTING, shard_of
from common.testing.eventually import eventually
from tests.support.faults import metric, process, replicas, stopped
from tests.support.load import Load
from tests.support.platforms import RunningPlatform

pytestmark = pytest.mark.timeout(300)

ODD_KEY = {"kty": "EC", "kid": "odd", "crv": "P-256", "x": "AA", "y": "AA"}


@asynccontextmanager
async def loaded(platform: RunningPlatform) -> AsyncIterator[Load]:
    """Contacts flow before and after the block, and each of them comes to its end."""
    async with platform.clients(client="strange") as clients:
        load = Load(clients, rate=10.0, agents=4)
        await load.start()
        await asyncio.sleep(2)
        yield load
        before = len(load.posted)

        async def flowing() -> bool:
            return len(load.posted) > before + 10

        await eventually(flowing, within_s=60, what="contacts flow again")
        await load.finish()
        assert load.gave_up == 0


async def signs_in(token: str, url: str) -> int:
    """The answer to an administrator's token that this replica has not seen before."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as http, http.get(url + "/v1/skills") as answer:
        return answer.status


async def all_say(urls: list[str], name: str, wanted: float, label: str = "") -> None:
    """As health checks do, each is asked whether it is ready: then it looks at its keys, requests or not."""

    async def look() -> bool:
        async with aiohttp.ClientSession() as http:
            for url in urls:
                await (await http.get(url + "/readyz")).release()
        return all([await metric(url, name, label) == wanted for url in urls])

    await eventually(look, within_s=15, what=f"{name} is {wanted} everywhere")


@pytest.mark.parametrize("fault", ["missing", "empty", "half written"])
async def test_keys_that_cannot_be_read_keep_nobody_out_meanwhile(pairs: RunningPlatform, fault: str) -> None:
    path = pairs.home.folder / "jwks.json"
    good = path.read_bytes()
    urls, presence = list(replicas(pairs).values()), pairs.running.presence
    token = pairs.token(f"during {fault}", "admin")
    async with loaded(pairs):
        try:
            if fault == "missing":
                path.unlink()
            else:
                path.write_bytes(b"" if fault == "empty" else good[: len(good) // 2])
            await all_say(urls, "token_keys_unreadable", 1.0)
            assert [await signs_in(token, url) for url in presence] == [200, 200]
        finally:
            path.write_bytes(good)
        await all_say(urls, "token_keys_unreadable", 0.0)


async def test_one_odd_key_keeps_no_other_from_working(pairs: RunningPlatform) -> None:
    path = pairs.home.folder / "jwks.json"
    good = path.read_bytes()
    token = pairs.token("beside an odd key", "admin")
    try:
        path.write_text(json.dumps({"keys": [ODD_KEY, *json.loads(good)["keys"]]}))
        await all_say(list(replicas(pairs).values()), "token_keys", 1.0, "odd")
        assert [await signs_in(token, url) for url in pairs.running.presence] == [200, 200]
    finally:
        path.write_bytes(good)


async def test_records_that_are_not_the_routers_are_set_aside_and_the_log_goes_on(pairs: RunningPlatform) -> None:
    """Garbage, and a line that was copied with a place in the log far ahead."""
    topic, urls = pairs.running.topic_prefix + ROUTING.name, list(replicas(pairs).values())
    async with loaded(pairs) as load:
        before = {url: await metric(url, "facts_refused_total") for url in urls}
        consumer = AIOKafkaConsumer(**pairs.running.kafka, group_id=None)
        await consumer.start()
        place = TopicPartition(topic, shard_of(load.name))
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        line = await asyncio.wait_for(consumer.getone(), 10)
        await consumer.stop()
        ahead = [(name, b"999999999" if name == "ce_sequence" else value) for name, value in line.headers]
        assert ahead != list(line.headers), line.headers
        producer = AIOKafkaProducer(**pairs.running.kafka)
        await producer.start()
        await producer.send_and_wait(topic, b"\x00garbage", partition=place.partition)
        await producer.send_and_wait(topic, line.value, key=line.key, headers=ahead, partition=place.partition)
        await producer.stop()

        async def refused() -> bool:
            now = {url: await metric(url, "facts_refused_total") for url in urls}
            return all(any(now[url] > before[url] for url in pair) for pair in (urls[:2], urls[2:4], urls[4:]))

        await eventually(refused, within_s=20, what="a replica of each service refused them")
    await all_say(urls, "log_gaps", 0.0)


async def test_a_log_with_a_hole_stops_its_own_shard_for_that_reader_alone(pairs: RunningPlatform) -> None:
    """Kafka lost records before reporting read them: figures of that shard stand still and say so, everything else goes on.

    The last test of this platform: its figures are not whole afterwards.
    """
    names = [f"reporting-{number}" for number in (1, 2)]
    pids = [process(pairs, name).pid for name in names]
    topic = pairs.running.topic_prefix + ROUTING.name
    async with loaded(pairs) as load:
        place = TopicPartition(topic, shard_of(load.name))
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            for pid, name in zip(pids, names, strict=True):
                await eventually(partial(stopped, pid), within_s=5, what=f"{name} is stopped")
            posted = len(load.posted)

            async def more() -> bool:
                return len(load.posted) > posted + 20

            await eventually(more, within_s=20, what="contacts flow while reporting stands still")
            lost_before = await _lose_everything_so_far(pairs, place)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        assert lost_before > 0

        async def found() -> bool:
            return any([await metric(url, "log_gaps") > 0 for url in pairs.running.reporting])

        await eventually(found, within_s=30, what="reporting noticed the hole")
    assert await metric(pairs.running.intake[0], "log_gaps") == await metric(pairs.running.intake[1], "log_gaps") == 0
    async with loaded(pairs) as other:  # a pool of another shard, as a rule
        assert other.name != load.name


async def _lose_everything_so_far(platform: RunningPlatform, place: TopicPartition) -> int:
    """Delete what is in the partition; returns the first offset that is left."""
    consumer = AIOKafkaConsumer(**platform.running.kafka, group_id=None)
    await consumer.start()
    end = int((await consumer.end_offsets([place]))[place])
    await consumer.stop()
    await asyncio.sleep(3)  # whoever runs has read all of it then
    admin = AIOKafkaAdminClient(**platform.running.kafka)
    await admin.start()
    await admin.delete_records({place: RecordsToDelete(before_offset=end)})
    await admin.close()
    return end
