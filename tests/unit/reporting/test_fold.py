"""From facts to segments."""

from typing import Any

from common.contracts import routing
from reporting.domain import Folded, Segment, begin, fold

ABOUT: dict[str, Any] = {"contact_id": "c1", "pool": "p", "queue": "q"}
TRY: dict[str, Any] = {**ABOUT, "attempt": 1, "agent_id": "ann"}


def queued() -> Folded:
    return begin(
        routing.ContactQueued(
            **ABOUT, at_ms=12, channel="chat", priority=0, units=2, accepted_at_ms=10, routing_age_at_ms=10
        )
    )


def play(*facts: routing.RoutingFactBase) -> tuple[Folded, list[Segment]]:
    folded, closed = queued(), []
    for fact in facts:
        folded = fold(folded, fact)
        if folded.closed is not None:
            closed.append(folded.closed)
    return folded, closed


def spans(segments: list[Segment]) -> list[tuple[str, str, int, int | None, str]]:
    return [(one.kind, one.agent_id, one.started_at_ms, one.ended_at_ms, one.end_reason) for one in segments]


def offer(at_ms: int, agent: str = "ann", attempt: int = 1) -> routing.OfferMade:
    return routing.OfferMade(
        **{**TRY, "agent_id": agent, "attempt": attempt},
        at_ms=at_ms,
        session_no=1,
        channel="chat",
        priority=0,
        units=2,
        routing_age_at_ms=10,
        expires_at_ms=99,
    )


def test_the_wait_begins_with_the_acceptance() -> None:
    assert queued().open is not None
    assert queued().open.started_at_ms == 10  # type: ignore[union-attr]


def test_a_life_has_a_stay_in_the_queue_and_one_with_the_agent() -> None:
    folded, closed = play(
        offer(20),
        routing.OfferAccepted(**TRY, at_ms=30, command_id="k"),
        routing.WrapUpStarted(**TRY, at_ms=50, ends_at_ms=90, actor="agent"),
        routing.ContactCompleted(**TRY, at_ms=60, actor="agent", reason="completed"),
    )

    assert spans(closed) == [("queue", "", 10, 30, "answered"), ("agent", "ann", 30, 60, "completed")]
    assert closed[1].wrap_up_at_ms == 50
    assert (folded.contact.state, folded.contact.answered_at_ms, folded.contact.ended_at_ms) == ("completed", 30, 60)


def test_an_unanswered_offer_does_not_end_the_stay_in_the_queue() -> None:
    _, closed = play(
        offer(20),
        routing.OfferTimedOut(**TRY, at_ms=40),
        routing.ContactAbandoned(**ABOUT, at_ms=45, reason="customer_gave_up"),
    )

    assert spans(closed) == [("queue", "", 10, 45, "customer_gave_up")]


def test_a_lost_agent_makes_a_second_stay_in_the_queue_and_the_first_answer_counts() -> None:
    bob = {**TRY, "agent_id": "bob", "attempt": 2}
    folded, closed = play(
        offer(20),
        routing.OfferAccepted(**TRY, at_ms=30, command_id="k"),
        routing.LinkLost(**TRY, at_ms=35, held_until_ms=45),
        routing.ContactRequeued(**TRY, at_ms=45, reason="link_lost"),
        offer(46, "bob", 2),
        routing.OfferAccepted(**bob, at_ms=50, command_id="k2"),
        routing.ContactCompleted(**bob, at_ms=70, actor="agent", reason="completed"),
    )

    assert [span[:4] for span in spans(closed)] == [
        ("queue", "", 10, 30),
        ("agent", "ann", 30, 45),
        ("queue", "", 45, 50),
        ("agent", "bob", 50, 70),
    ]
    assert folded.contact.answered_at_ms == 30
