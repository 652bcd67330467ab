"""`porchlight try`: one contact from the POST to the last fact, each step with its time."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from porchlight.clients.apply import apply, wait_until_known
from porchlight.clients.http import Clients, Desktop, Refused

STEP_TIMEOUT_S = 30.0
WANTED = {
    "skills": ["first-light"],
    "queues": {"porch": {"pool": "porch", "requirements": [{"skill": "first-light"}]}},
    "agents": {"ann": {"pool": "porch", "skills": {"first-light": 80}}},
}
BODY = {"queue": "porch", "channel": "voice", "customer": {"name": "Ada", "address": "+34600000000"}}

Tell = Callable[[str, float], None]


async def try_once(clients: Clients, tell: Tell) -> str:
    """Play it; `tell` gets each step and its milliseconds. Returns the contact's id."""
    began = time.perf_counter()

    def step(text: str) -> None:
        nonlocal began
        now = time.perf_counter()
        tell(text, (now - began) * 1000)
        began = now

    administrator, integration, desktop = clients.administrator(), clients.integration(), clients.desktop("ann")
    await apply(administrator, WANTED)
    step("skill, queue `porch` and agent `ann` are defined")
    await desktop.sign_in()
    step("ann signed in and is available")
    contact = await wait_until_known(integration, BODY)
    step(f"POST /v1/contacts: 202 for contact {contact['id']}")
    async with asyncio.timeout(STEP_TIMEOUT_S):
        offer = await _offer_of(desktop, contact["id"])
        step(f"ann's inbox shows the offer, attempt {offer['attempt']}")
        await desktop.accept(offer)
        step("ann accepted: the contact is theirs")
        await desktop.complete(offer)
        step("ann completed it")
        while (await integration.get(contact["id"]))["state"] != "completed":
            await asyncio.sleep(0.01)
        step("GET /v1/contacts/{id}: completed")
        journey = None
        while journey is None or journey["state"] != "completed":
            try:
                journey = await administrator.journey(contact["id"])
            except Refused:
                await asyncio.sleep(0.01)
        step("reporting tells the journey: " + " → ".join(one["type"] for one in journey["steps"]))
    await desktop.sign_out()
    return str(contact["id"])


async def _offer_of(desktop: Desktop, contact_id: str) -> dict[str, Any]:
    while True:
        inbox = await desktop.inbox()
        for offer in (inbox or {}).get("offers", []):
            if offer["contact_id"] == contact_id:
                return dict(offer)
            with suppress(Refused):  # it may be over by itself: then it is not theirs any more either
                await desktop.decline(offer)
