"""What agents have before them, folded from the router's facts."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import msgspec

from agent_presence.inboxes import Inboxes
from agent_presence.leases import Leases
from agent_presence.polling import Polling
from common.contracts import routing
from common.contracts.codec import type_of
from common.contracts.envelope import Envelope
from common.runtime.bus import Incoming

ABOUT: dict[str, Any] = {"contact_id": "c1", "pool": "p", "queue": "q", "at_ms": 1, "attempt": 1, "agent_id": "ann"}

ROUTED: dict[str, Any] = {
    "agent_id": "ann",
    "pool": "p",
    "session_no": 1,
    "routing_state": "ready",
    "reason": "x",
    "at_ms": 1,
}


def fold(inboxes: Inboxes, *facts: msgspec.Struct, seq: int = 1, shard: int = 0) -> None:
    for number, fact in enumerate(facts, start=seq):
        envelope = Envelope(
            event_id="e", type=type_of(fact), occurred_at_ms=1, key="k", producer="router", sequence=number
        )
        inboxes.fold(
            Incoming(
                topic="routing.v1", partition=shard, offset=number, headers=(), value=b"", envelope=envelope, fact=fact
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
    inboxes.stop_expecting("ann", "k", future)
    assert await inboxes.expect_answer("ann", "k") == "done"


async def test_a_request_and_its_retry_both_hear_the_answer_though_the_first_stopped_waiting() -> None:
    inboxes = Inboxes()
    first, retry = inboxes.expect_answer("ann", "k"), inboxes.expect_answer("ann", "k")

    inboxes.stop_expecting("ann", "k", first)
    fold(inboxes, offer(), routing.OfferAccepted(**ABOUT, command_id="k"))

    assert await asyncio.wait_for(retry, 1) == "done"
    assert not first.done()


def test_versions_grow_with_the_log() -> None:
    inboxes = Inboxes()

    fold(inboxes, offer(), seq=7)

    assert (inboxes.version("ann"), inboxes.version("bob")) == ({0: 7}, {})


class Never:
    """Leases that last for ever."""

    @contextmanager
    def held(self, agent_id: str, session_no: int, is_gone: Callable[[], bool]) -> Iterator[None]:
        yield

    async def is_alive(self, agent_id: str, session_no: int) -> bool:
        return True

    def is_over(self, agent_id: str, session_no: int) -> bool:
        return False


async def a_turn_of_the_loop() -> None:
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    await turned.wait()


def held(inboxes: Inboxes, known: str | None) -> "asyncio.Task[bool]":
    polling = Polling(inboxes=inboxes, leases=cast(Leases, Never()), stopping=asyncio.Event())
    return asyncio.create_task(polling.changed("ann", 1, known=known, wait_s=30, is_gone=lambda: False))


def etag(inboxes: Inboxes) -> str:
    return Polling(inboxes=inboxes, leases=cast(Leases, Never()), stopping=asyncio.Event()).etag("ann", 1)


async def test_an_agent_who_moved_to_a_shard_with_a_shorter_log_is_told_of_an_offer_there() -> None:
    inboxes = Inboxes()
    fold(inboxes, routing.AgentRoutingChanged(**ROUTED), seq=1_000_001, shard=3)
    fold(inboxes, routing.AgentRoutingChanged(**ROUTED), seq=50, shard=7)
    poll = held(inboxes, etag(inboxes))
    await a_turn_of_the_loop()

    fold(inboxes, offer(), seq=51, shard=7)

    assert await asyncio.wait_for(poll, 1)


async def test_a_replica_that_has_not_read_what_the_desktop_saw_waits_until_it_has() -> None:
    ahead, behind = Inboxes(), Inboxes()
    fold(ahead, offer(), seq=51, shard=7)
    poll = held(behind, etag(ahead))
    await a_turn_of_the_loop()
    assert not poll.done()

    fold(behind, offer(), seq=51, shard=7)
    await a_turn_of_the_loop()
    assert not poll.done(), "now it knows the same: there is nothing new"
    fold(behind, routing.OfferTimedOut(**ABOUT), seq=52, shard=7)

    assert await asyncio.wait_for(poll, 1)


async def test_a_replica_that_started_anew_answers_at_once_what_it_knows_otherwise() -> None:
    before, anew = Inboxes(), Inboxes()
    fold(before, offer(), routing.OfferTimedOut(**ABOUT), seq=51, shard=7)
    anew.load([], [], {7: 60})

    assert await asyncio.wait_for(held(anew, etag(before)), 1)


def test_what_keeps_every_contact_from_a_ready_agent_is_the_reason_until_it_is_over() -> None:
    inboxes = Inboxes()
    about: dict[str, Any] = {"agent_id": "ann", "pool": "p", "session_no": 1, "at_ms": 1}
    fold(inboxes, routing.AgentRoutingChanged(**{**ROUTED, "reason": "available"}))
    seen = []

    for seq, reason in enumerate(("shift_ends", "link_score", ""), start=2):
        before = inboxes.version("ann").copy()
        fold(inboxes, routing.OfferDenied(**about, reason=reason), seq=seq)
        standing = inboxes.standing("ann")
        assert standing is not None and inboxes.version("ann") != before
        seen.append((standing.routing_state, standing.reason))

    assert seen == [("ready", "shift_ends"), ("ready", "link_score"), ("ready", "available")]
