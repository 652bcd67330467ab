"""What agents have before them, folded from the router's facts."""

import asyncio
from typing import Any

import msgspec

from agent_presence.inboxes import Inboxes
from common.contracts import routing
from common.contracts.codec import type_of
from common.contracts.envelope import Envelope
from common.runtime.bus import Incoming

ABOUT: dict[str, Any] = {"contact_id": "c1", "pool": "p", "queue": "q", "at_ms": 1, "attempt": 1, "agent_id": "ann"}


def fold(inboxes: Inboxes, *facts: msgspec.Struct, seq: int = 1) -> None:
    for number, fact in enumerate(facts, start=seq):
        envelope = Envelope(
            event_id="e", type=type_of(fact), occurred_at_ms=1, key="k", producer="router", sequence=number
        )
        inboxes.fold(
            Incoming(
                topic="routing.v1", partition=0, offset=number, headers=(), value=b"", envelope=envelope, fact=fact
            )
        )


def offer(**changes: Any) -> routing.OfferMade:
    more = {"session_no": 1, "channel": "voice", "priority": 0, "units": 6, "routing_age_at_ms": 1, "expires_at_ms": 9}
    return routing.OfferMade(**{**ABOUT, **more, **changes})


def test_an_offer_appears_and_becomes_a_contact_when_accepted() -> None:
    inboxes = Inboxes()

    fold(inboxes, offer())
    before = [item.state for item in inboxes.items("ann")]
    fold(inboxes, routing.OfferAccepted(**ABOUT, command_id="k"), seq=2)

    assert before == ["offered"]
    assert [item.state for item in inboxes.items("ann")] == ["assigned"]


def test_an_offer_that_is_over_disappears() -> None:
    for end in (
        routing.OfferTimedOut(**ABOUT),
        routing.OfferRescinded(**ABOUT, reason="withdrawn"),
        routing.OfferDeclined(**ABOUT, command_id="k"),
    ):
        inboxes = Inboxes()
        fold(inboxes, offer(), end)

        assert inboxes.items("ann") == []


def test_the_next_offer_of_a_contact_belongs_to_the_next_agent_only() -> None:
    inboxes = Inboxes()

    fold(inboxes, offer(), routing.OfferTimedOut(**ABOUT), offer(agent_id="bob", attempt=2))

    assert inboxes.items("ann") == []
    assert [item.attempt for item in inboxes.items("bob")] == [2]


async def test_who_waits_is_woken_by_a_change_of_the_own_inbox_only() -> None:
    inboxes = Inboxes()
    anns, bobs = inboxes.changed("ann"), inboxes.changed("bob")

    fold(inboxes, offer())

    assert anns.is_set() and not bobs.is_set()


async def test_an_answer_reaches_who_asked_and_the_first_one_counts() -> None:
    inboxes = Inboxes()
    future = inboxes.expect_answer("ann", "k")

    fold(inboxes, offer(), routing.OfferAccepted(**ABOUT, command_id="k"))
    refused = routing.CommandRefused(
        command_id="k", agent_id="ann", pool="p", contact_id="c1", attempt=1, reason="already_done", at_ms=2
    )
    fold(inboxes, refused, seq=3)

    assert await asyncio.wait_for(future, 1) == "done"
    inboxes.stop_expecting("ann", "k")
    assert await inboxes.expect_answer("ann", "k") == "done"


def test_versions_grow_with_the_log() -> None:
    inboxes = Inboxes()

    fold(inboxes, offer(), seq=7)

    assert (inboxes.version("ann"), inboxes.version("bob")) == (7, 0)
