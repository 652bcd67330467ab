"""Stories in domain words, through the public APIs, with two of every service."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from common.runtime.clock import new_id
from common.testing.eventually import eventually
from porchlight.clients.http import Answer, Desktop, Refused
from tests.support.centre import Centre
from tests.support.platforms import RunningPlatform


def utc(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.fixture
async def centre(platform: RunningPlatform) -> AsyncIterator[Centre]:
    async with platform.clients() as clients:
        yield Centre(clients, "e" + new_id()[-8:])


async def test_a_contact_is_answered_by_an_agent_at_home(centre: Centre) -> None:
    await centre.open(wrap_up_ms=60_000)
    ann = await centre.agent("ann")
    contact_id = await centre.post()
    offer = await centre.offer(ann, contact_id)

    await ann.accept(offer)
    await ann.complete(offer)
    await ann.end_wrap_up(offer)

    await centre.state(contact_id, "completed")
    assert await centre.journey(contact_id, "contact.completed") == [
        "contact.queued",
        "offer.made",
        "offer.accepted",
        "wrap_up.started",
        "contact.completed",
    ]


async def test_a_retried_post_is_one_contact_whichever_instance_answers(
    centre: Centre, platform: RunningPlatform
) -> None:
    await centre.open()
    first = await centre.post()
    key, body = new_id(), {"queue": centre.queue, "channel": "chat"}
    posters = [centre.clients.integration() for _ in range(6)]
    for number, poster in enumerate(posters):
        poster._caller.turn = number

    contacts = await asyncio.gather(*(poster.post(body, key=key) for poster in posters))

    assert len({contact["id"] for contact in contacts}) == 1
    assert contacts[0]["id"] != first and len(platform.running.intake) == 2


async def test_a_declined_offer_goes_to_somebody_else(centre: Centre) -> None:
    await centre.open()
    ann = await centre.agent("ann")
    contact_id = await centre.post()
    offer = await centre.offer(ann, contact_id)
    bob = await centre.agent("bob")

    await ann.decline(offer)

    assert (await centre.offer(bob, contact_id))["attempt"] == 2


async def test_an_unanswered_offer_goes_on_and_the_late_answer_is_a_normal_no(centre: Centre) -> None:
    await centre.open(offer_timeout_ms=1_000)
    ann = await centre.agent("ann")
    contact_id = await centre.post()
    offer = await centre.offer(ann, contact_id)
    bob = await centre.agent("bob")
    await centre.offer(bob, contact_id)

    with pytest.raises(Refused) as late:
        await ann.accept(offer)

    assert (late.value.status, late.value.kind) == (409, "offer-over")
    inbox = await ann.inbox(wait_s=1)
    assert inbox is None or inbox["routing_state"] == "not_responding"
    await ann.set_presence("available")

    async def ready() -> bool:
        seen = await ann.inbox(wait_s=1)
        return seen is not None and seen["routing_state"] == "ready"

    await eventually(ready, within_s=10)


async def test_a_customer_who_hangs_up_is_abandoned(centre: Centre) -> None:
    await centre.open()
    contact_id = await centre.post()

    assert await centre.integration.cancel(contact_id)

    await centre.state(contact_id, "abandoned")
    assert not await centre.integration.cancel(contact_id), "it is over: nothing to cancel"


async def test_a_new_sign_in_fences_the_old_desktop(centre: Centre) -> None:
    await centre.open()
    old = await centre.agent("ann")
    new = await centre.agent("ann")

    with pytest.raises(Refused) as fenced:
        await old.set_presence("away")

    assert (fenced.value.status, fenced.value.kind) == (409, "session-over")
    assert new.session_no == old.session_no + 1


async def test_an_agent_whose_line_is_lost_comes_back_and_goes_on(centre: Centre) -> None:
    await centre.open(link_grace_ms=60_000)
    ann = await centre.agent("ann")
    contact_id = await centre.post()
    await ann.accept(await centre.offer(ann, contact_id))

    await centre.state(contact_id, "link_lost")  # nobody polls: the lease runs out
    back = await centre.agent("ann")

    await centre.state(contact_id, "assigned")
    inbox = await back.inbox()
    assert inbox is not None
    await back.complete(inbox["contacts"][0])
    await centre.state(contact_id, "completed")


async def test_an_agent_who_does_not_come_back_loses_the_contact_to_somebody_else(centre: Centre) -> None:
    await centre.open(link_grace_ms=500)
    ann = await centre.agent("ann")
    contact_id = await centre.post()
    await ann.accept(await centre.offer(ann, contact_id))
    await ann.sign_out()
    bob = await centre.agent("bob")

    offer = await centre.offer(bob, contact_id)
    await bob.accept(offer)

    assert "contact.requeued" in await centre.journey(contact_id, "offer.accepted")


async def test_any_replica_answers_any_agent(centre: Centre, platform: RunningPlatform) -> None:
    await centre.open()
    ann = await centre.agent("ann")
    contact_id = await centre.post()
    offer = await centre.offer(ann, contact_id)

    ann._caller.turn += 1
    await ann.accept(offer)
    ann._caller.turn += 1
    await ann.complete(offer)

    assert len(platform.running.presence) == 2
    await centre.state(contact_id, "completed")


async def test_only_the_agent_who_holds_the_contact_sees_the_customer(
    centre: Centre, platform: RunningPlatform
) -> None:
    await centre.open()
    ann, bob = await centre.agent("ann"), await centre.agent("bob", presence="away")
    contact_id = await centre.post(customer={"name": "Ada", "address": "+34600000000", "note": ""})
    offer = await centre.offer(ann, contact_id)
    path = f"/v1/contacts/{contact_id}/customer"
    for desktop in (ann, bob):
        desktop._caller.urls = list(platform.running.intake)

    async def read(desktop: Desktop, session_no: int | None = None) -> Answer:
        headers = {"Session-No": str(session_no or desktop.session_no)}
        return await desktop._caller.send("GET", path, headers=headers)

    early = await read(ann)
    ann._caller.urls = list(platform.running.presence)
    await ann.accept(offer)
    await centre.state(contact_id, "assigned")
    ann._caller.urls = list(platform.running.intake)

    assert early.status_code == 404
    found = await read(ann)
    assert (found.json()["name"], found.headers["Cache-Control"]) == ("Ada", "no-store")
    assert (await read(bob)).status_code == 404
    assert (await ann._caller.send("GET", path)).json()["name"] == "Ada", "no session is named: the present one counts"
    fenced = ann.session_no
    again = await centre.agent("ann")
    again._caller.urls = list(platform.running.intake)
    assert (await read(again)).json()["name"] == "Ada", "the new desktop has the contact"
    assert (await read(again, fenced)).json()["type"].endswith("session-over")
    again._caller.urls = list(platform.running.presence)
    await again.sign_out()
    await centre.state(contact_id, "link_lost")
    again._caller.urls = list(platform.running.intake)
    assert (await read(again)).json()["type"].endswith("session-over")
    assert (await again._caller.send("GET", path)).json()["type"].endswith("session-over")


async def test_a_disabled_agent_is_out_at_once_and_the_customers_are_served_by_others(
    centre: Centre, platform: RunningPlatform
) -> None:
    await centre.open(link_grace_ms=500)
    ann = await centre.agent("ann")
    held, offered = await centre.post(channel="chat"), await centre.post(channel="chat")
    await ann.accept(await centre.offer(ann, held))
    await centre.offer(ann, offered)
    polls = [await held_poll(centre, ann, turn) for turn in range(len(platform.running.presence))]

    await centre.administrator.put_agent(ann.name, {"pool": centre.name, "enabled": False})
    answers = await asyncio.gather(*polls, return_exceptions=True)

    assert [(one.status, one.kind) for one in answers if isinstance(one, Refused)] == [(409, "session-over")] * 2
    with pytest.raises(Refused) as out:
        await ann.sign_in()
    assert (out.value.status, out.value.kind) == (403, "not-an-agent")
    bob = await centre.agent("bob")
    await centre.offer(bob, offered)
    await centre.offer(bob, held)


async def test_a_supervisor_signs_an_agent_out_who_may_come_back(centre: Centre) -> None:
    await centre.open(link_grace_ms=60_000)
    ann = await centre.agent("ann")
    contact_id = await centre.post()
    await ann.accept(await centre.offer(ann, contact_id))
    poll = await held_poll(centre, ann, 1)

    await centre.administrator.sign_out(ann.name)

    with pytest.raises(Refused) as over:
        await poll
    assert (over.value.status, over.value.kind) == (409, "session-over")
    await centre.state(contact_id, "link_lost")
    await ann.sign_in()
    await centre.state(contact_id, "assigned")


async def held_poll(centre: Centre, desktop: Desktop, turn: int) -> "asyncio.Task[None]":
    """Long polls of the desktop's session at another replica, one after the other, until one is refused; one is held now."""
    other = centre.clients.desktop(desktop.name)
    other.session_no, other._caller.turn = desktop.session_no, turn

    async def poll() -> None:
        while True:
            await other.inbox(wait_s=25)

    await other.inbox()
    task = asyncio.create_task(poll())
    await asyncio.wait({task}, timeout=0.5)
    return task


async def test_reporting_counts_what_happened(centre: Centre) -> None:
    await centre.open()
    gone = await centre.post()
    await centre.integration.cancel(gone)
    await centre.state(gone, "abandoned")
    ann = await centre.agent("ann")
    answered = await centre.post()
    offer = await centre.offer(ann, answered)
    await ann.accept(offer)
    await ann.complete(offer)
    await centre.journey(answered, "contact.completed")
    await centre.journey(gone, "contact.abandoned")

    now = datetime.now(UTC)
    day, ago, ahead = timedelta(days=1), now - timedelta(days=2), now + timedelta(days=1)
    found = await centre.administrator.summary(centre.queue, start=utc(ago), end=utc(ago + day))
    today = await centre.administrator.summary(centre.queue, start=utc(now - day), end=utc(ahead))

    assert found["offered"] == 0
    assert {name: today[name] for name in ("offered", "answered", "abandoned", "waiting")} == {
        "offered": 2,
        "answered": 1,
        "abandoned": 1,
        "waiting": 0,
    }
    assert today["service_level"] == 0.5 and today["aht_ms"] > 0 and today["as_of"]
