"""What keeps a ready agent from every contact is said to them: when it begins, when it changes, and when it is over."""

from typing import Any

import pytest

from common.contracts.policies import Fair, Home, Offers
from router.core.model import decisions, events
from tests.support.builders import arrived, asked, queue, seen
from tests.support.table import Table


def denied(table: Table) -> list[tuple[str, str]]:
    return [(one.agent_id, one.reason) for one in table.said if isinstance(one, decisions.OfferDenied)]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"shift_ends_ms": 900}, "shift_ends"),
        ({"break_due_ms": 900}, "break_due"),
        ({"denied_from_ms": 900, "denied_reason": "rest"}, "rest"),
        ({"denied_from_ms": 900}, "hours_denied"),
        ({"premium_from_ms": 900}, "premium_hours"),
        ({"link_score": 10}, "link_score"),
        ({"units": 1}, "capacity"),
        ({"channel_max": (("voice", 0),)}, "channel_max"),
        ({"shift_ends_ms": 900, "break_due_ms": 900}, "break_due"),
    ],
)
def test_who_is_kept_from_every_contact_is_told_why_and_when_it_is_over(what: dict[str, Any], reason: str) -> None:
    table = Table(queue(home=Home(link_score_min=50, premium=False)))

    table.tell(arrived("c1"), seen(**what))
    assert denied(table) == [("ann", reason)]
    table.tell(seen(seq=2, **what), arrived("c2"))
    assert denied(table) == []
    table.tell(seen(seq=3))
    assert denied(table) == [("ann", "")] and table.offers() == [("c1", "ann")]


def test_nothing_is_said_while_some_queue_of_the_pool_could_offer_something() -> None:
    table = Table(queue(home=Home(link_score_min=50)), queue("mail"))

    table.tell(arrived("c1"), seen("bob"), arrived("m1", queue_id="mail", channel="email"), seen(link_score=10))
    assert denied(table) == [] and table.offers() == [("c1", "bob"), ("m1", "ann")]
    table.tell(asked("accept", contact_id="m1"), asked("complete", contact_id="m1"), seen(seq=2, link_score=10))
    assert denied(table) == []


def test_a_queue_of_another_pool_does_not_help() -> None:
    table = Table(queue(home=Home(link_score_min=50)), queue("mail", pool="elsewhere"))

    table.tell(arrived("m1", queue_id="mail", channel="email"), arrived("c1"), seen(link_score=10))
    assert denied(table) == [("ann", "link_score")]


def test_what_a_queue_of_another_pool_asks_is_nothing_to_the_agent() -> None:
    table = Table(queue(), queue("mail", pool="elsewhere", home=Home(link_score_min=50)))

    table.tell(arrived("m1", queue_id="mail", channel="email"), seen(link_score=10, units=7), arrived("c1"))
    assert denied(table) == [] and table.offers() == [("c1", "ann")]


def test_hands_that_are_full_are_no_denial() -> None:
    table = Table(queue())

    table.tell(seen(), arrived("c1"), arrived("c2"), asked("accept"))
    assert denied(table) == []


def test_a_limit_that_is_past_is_said_though_nobody_has_asked_for_anything_yet() -> None:
    table = Table(queue())

    table.tell(seen(shift_ends_ms=900))
    assert denied(table) == [("ann", "shift_ends")]


def test_a_limit_is_said_when_its_time_comes() -> None:
    table = Table(queue())

    table.tell(seen(shift_ends_ms=5_000))
    assert denied(table) == []
    table.tick(5_001)
    assert denied(table) == [("ann", "shift_ends")]


def test_it_is_said_again_after_the_agent_was_away_and_in_a_new_session() -> None:
    table = Table(queue())
    table.tell(seen(shift_ends_ms=900))

    table.tell(seen(seq=2, presence="break", shift_ends_ms=900))
    assert denied(table) == []
    table.tell(seen(seq=3, shift_ends_ms=900))
    assert [type(one).__name__ for one in table.said] == ["AgentRouting", "OfferDenied"]
    table.tell(seen(seq=4, session_no=2, shift_ends_ms=900))
    assert [type(one).__name__ for one in table.said] == ["AgentRouting", "OfferDenied"]


def test_a_fair_share_that_is_used_up_is_said_until_it_is_filled_again() -> None:
    table = Table(queue(fair=Fair(offers=1, window_ms=60_000), offers=Offers(auto_accept=True)))

    table.tell(seen(), arrived("c1"), at_ms=1_000)
    table.tell(asked("complete"))
    assert denied(table) == [("ann", "fair_share")]
    table.tick(61_000)
    assert denied(table) == [("ann", "")]


def test_a_change_of_the_policy_takes_the_denial_back() -> None:
    table = Table(queue(home=Home(link_score_min=50)))
    table.tell(arrived("c1"), seen(link_score=10))

    table.tell(events.QueueSet(queue=queue(version=2)))
    assert denied(table) == [("ann", "")] and table.offers() == [("c1", "ann")]
