"""An agent with many windows: the newest polls are held, the oldest is told to come again later."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from common.runtime.clock import new_id
from common.testing.eventually import eventually
from tests.support.centre import Centre
from tests.support.platforms import RunningPlatform


@pytest.fixture
async def centre(platform: RunningPlatform) -> AsyncIterator[Centre]:
    async with platform.clients() as clients:
        yield Centre(clients, "l" + new_id()[-8:])


async def test_the_oldest_of_too_many_polls_gives_way_and_the_others_hear_the_news(centre: Centre) -> None:
    await centre.open()
    ann = await centre.agent("ann", presence="away")
    caller, session = ann._caller, {"Session-No": str(ann.session_no)}
    etag = (await caller.send("GET", "/v1/inbox", headers=session)).headers["ETag"]
    held = {**session, "If-None-Match": etag, "Prefer": "wait=25"}

    polls = [asyncio.create_task(caller.send("GET", "/v1/inbox", headers=held, timeout_s=40)) for _ in range(4)]

    async def one_is_answered() -> bool:
        return any(poll.done() for poll in polls)

    await eventually(one_is_answered, within_s=15, what="a poll gives way")
    (first,) = [await poll for poll in polls if poll.done()]
    assert first.status_code == 429 and first.headers["Retry-After"] == "5"
    assert first.json()["type"] == "urn:porchlight:problem:too-often"
    await ann.set_presence("break")
    await ann.set_presence("available")
    assert sorted([(await poll).status_code for poll in polls]) == [200, 200, 200, 429]
