"""What was promised to a customer is kept, through the running platform with two of every service."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from common.runtime.clock import new_id
from porchlight.clients.apply import apply, wait_until_known
from porchlight.clients.http import Refused
from tests.support.centre import Centre
from tests.support.platforms import RunningPlatform

SOON_S = 4.0
SETTLED_S = 1.0
"""What would happen in the same moment has happened after so long."""


@pytest.fixture
async def centre(platform: RunningPlatform) -> AsyncIterator[Centre]:
    async with platform.clients() as clients:
        yield Centre(clients, "k" + new_id()[-8:])


def at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")


async def full_queue(centre: Centre) -> str:
    """A queue of the same pool that is full, with a skill that nobody has."""
    skill, queue = f"rare-{centre.name}", f"full-{centre.name}"
    wanted = {"pool": centre.name, "requirements": [{"skill": skill}], "policy": {"length_max": 1}}
    await apply(centre.administrator, {"skills": [skill], "queues": {queue: wanted}})
    first = await wait_until_known(centre.integration, {"queue": queue, "channel": "voice"})
    await centre.state(str(first["id"]), "queued")
    return queue


async def test_a_conversation_that_is_passed_to_a_full_queue_waits_there_and_to_nobody_it_stays(centre: Centre) -> None:
    await centre.open()
    full = await full_queue(centre)
    ann = await centre.agent("ann")
    contact_id = await centre.post()
    offer = await centre.offer(ann, contact_id)
    await ann.accept(offer)

    with pytest.raises(Refused) as refused:
        await ann.transfer(offer, to_agent=f"bob-{centre.name}")  # who has never signed in
    bob = await centre.agent("bob")
    await bob.sign_out()
    with pytest.raises(Refused) as gone:
        await ann.transfer(offer, to_agent=f"bob-{centre.name}")
    await ann.transfer(offer, to_queue=full)
    await asyncio.sleep(SETTLED_S)

    assert refused.value.kind == "no-such-target"
    assert (gone.value.kind, gone.value.problem["reason"]) == ("target-cannot-take-it", "agent_not_signed_in")
    assert (await centre.state(contact_id, "queued"))["state"] == "queued"


async def test_a_callback_is_moved_and_kept_though_the_queue_is_full_when_it_is_due(centre: Centre) -> None:
    await centre.open(policy={"length_max": 1})
    contact_id = await centre.post()
    await centre.state(contact_id, "queued")
    await centre.integration.call_back(contact_id, not_before=at(3_600))
    await centre.state(contact_id, "scheduled")

    await centre.integration.call_back(contact_id, not_before=at(SOON_S))
    other = await centre.post()
    await centre.state(other, "queued")
    await centre.state(contact_id, "queued")
    await asyncio.sleep(SETTLED_S)
    ann = await centre.agent("ann")
    offer = await centre.offer(ann, contact_id)
    await ann.accept(offer)
    await centre.state(contact_id, "assigned")
    with pytest.raises(Refused) as served:
        await centre.integration.call_back(contact_id)

    assert offer["channel"] == "callback"
    assert served.value.kind == "contact-with-agent"
