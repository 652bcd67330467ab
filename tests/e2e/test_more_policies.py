"""The policies that need several queues or time, through the running platform with two of every service."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.runtime.clock import new_id
from porchlight.clients.apply import apply, wait_until_known
from tests.support.centre import Centre
from tests.support.platforms import RunningPlatform

NEVER_OPEN = {"zone": "America/Chicago", "weekly": [{"days": ["mon"], "start": "00:00", "end": "00:01"}]}
QUIET_S = 2.0
"""No offer for so long means that none comes: they come within milliseconds."""


@pytest.fixture
async def centre(platform: RunningPlatform) -> AsyncIterator[Centre]:
    async with platform.clients() as clients:
        yield Centre(clients, "z" + new_id()[-8:])


async def second_queue(centre: Centre, name: str, **policy: Any) -> str:
    """Another queue of the same pool, with a skill that nobody has."""
    queue = f"{name}-{centre.name}"
    skill = f"rare-{centre.name}"
    wanted = {"skills": [skill], "queues": {queue: {"pool": centre.name, "requirements": [{"skill": skill}], **policy}}}
    await apply(centre.administrator, wanted)
    return queue


async def post_to(centre: Centre, queue: str, **more: Any) -> str:
    return str((await wait_until_known(centre.integration, {"queue": queue, "channel": "voice", **more}))["id"])


async def test_a_queue_borrows_the_agents_of_another(centre: Centre) -> None:
    await centre.open()
    poor = await second_queue(centre, "poor", policy={"borrow": {"lender": centre.queue, "when": {"length_over": 1}}})
    ann = await centre.agent("ann")
    await centre.post()  # known everywhere now
    first = await post_to(centre, poor)
    await asyncio.sleep(QUIET_S)
    offered = {offer["contact_id"] for offer in (await ann.inbox(wait_s=1) or {"offers": []})["offers"]}
    assert first not in offered, "one contact is no reason to borrow"

    second = await post_to(centre, poor)

    bob = await centre.agent("bob")
    async with asyncio.timeout(20):
        while True:
            inbox = await bob.inbox() or {"offers": []}
            if {one["contact_id"] for one in inbox["offers"]} & {first, second}:
                break


async def test_all_of_a_queues_contacts_go_where_the_split_says(centre: Centre) -> None:
    await centre.open()
    front = await second_queue(centre, "front", policy={"split": [{"queue": centre.queue, "percent": 100}]})
    ann = await centre.agent("ann")
    await centre.post()

    contact_id = await post_to(centre, front)

    bob = await centre.agent("bob")
    del ann
    assert (await centre.offer(bob, contact_id))["queue"] == centre.queue


async def test_an_agent_who_had_its_share_waits_while_the_contact_does(centre: Centre) -> None:
    await centre.open(policy={"fair": {"offers": 1, "window_ms": 600_000}})
    ann = await centre.agent("ann")
    first = await centre.post()
    offer = await centre.offer(ann, first)
    await ann.accept(offer)
    await ann.complete(offer)

    second = await post_to(centre, centre.queue)

    await asyncio.sleep(QUIET_S)
    assert (await ann.inbox(wait_s=1) or {"offers": []})["offers"] == []
    bob = await centre.agent("bob")
    assert (await centre.offer(bob, second))["attempt"] == 1


async def test_a_closed_queue_says_so_and_ends_the_contact(centre: Centre) -> None:
    await centre.open(
        policy={"hours": NEVER_OPEN, "overflow": [{"when": {"closed": True}, "message": "We are asleep."}]}
    )
    await centre.agent("ann")

    contact_id = await centre.post()

    assert (await centre.state(contact_id, "overflowed"))["state"] == "overflowed"
    assert (await centre.journey(contact_id, "contact.overflowed"))[0] == "contact.queued"


async def test_a_burst_is_matched_as_a_whole(centre: Centre) -> None:
    await centre.open(policy={"micro_batch": {"window_ms": 200, "burst": 2}})
    await centre.post()
    ann, bob = await centre.agent("ann"), await centre.agent("bob")

    posted = await asyncio.gather(*(post_to(centre, centre.queue) for _ in range(2)))

    async with asyncio.timeout(20):
        asked: set[str] = set()
        while not set(posted) <= asked:
            for desktop in (ann, bob):
                for offer in (await desktop.inbox(wait_s=1) or {"offers": []})["offers"]:
                    asked.add(offer["contact_id"])
                    await desktop.accept(offer)
                    await desktop.complete(offer)


async def test_two_queues_are_served_by_their_shares(centre: Centre) -> None:
    await centre.open(policy={"order": {"method": "ratio", "share_percent": 80}})
    queue = f"other-{centre.name}"
    other = {"pool": centre.name, "requirements": [{"skill": f"s-{centre.name}"}]}
    policy = {"order": {"method": "ratio", "share_percent": 20}}
    await apply(centre.administrator, {"queues": {queue: {**other, "policy": policy}}})
    first = await centre.post()
    small = [await post_to(centre, queue) for _ in range(3)]
    for contact_id in (first, *small):
        await centre.state(contact_id, "queued")

    ann = await centre.agent("ann")

    offers = [await _next(ann) for _ in range(2)]
    assert {first, *small} >= set(offers)
    assert offers[0] in small, "three wait where a fifth belongs: that queue is furthest above its share"


async def _next(desktop: Any) -> str:
    async with asyncio.timeout(20):
        while True:
            for offer in (await desktop.inbox() or {"offers": []})["offers"]:
                await desktop.accept(offer)
                await desktop.complete(offer)
                return str(offer["contact_id"])


@pytest.mark.parametrize("favourite", ["ann", "bob"])
async def test_a_scorer_of_the_installation_chooses_the_agent(centre: Centre, favourite: str) -> None:
    await centre.open(policy={"choice": {"method": "scorer", "scorer": "favourite", "budget_ms": 1_000}})
    desktops = {name: await centre.agent(name) for name in ("ann", "bob")}

    contact_id = await centre.post(routing={"customer_ref": favourite})

    assert (await centre.offer(desktops[favourite], contact_id))["attempt"] == 1
