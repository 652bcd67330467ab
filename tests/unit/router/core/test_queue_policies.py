"""What the policies of offers, queues, people at home and transfers promise, in the order of docs/routing.md."""

from typing import Any

import pytest
from msgspec.structs import replace

from common.contracts.policies import (
    Borrow,
    Condition,
    Fair,
    Headroom,
    Home,
    Need,
    Offers,
    Overflow,
    Share,
)
from router.core.model import decisions, events
from router.core.queries.estimate import estimate
from router.core.restore import restore
from tests.support.builders import arrived, asked, queue, seen
from tests.support.table import Table


def only(kind: type[Any], said: list[Any]) -> list[Any]:
    return [one for one in said if isinstance(one, kind)]


class TestOffers:
    def test_the_time_to_answer_is_the_channels_and_the_agents(self) -> None:
        table = Table(queue(offers=Offers(timeouts_ms={"chat": 45_000})))

        table.tell(seen(offer_extra_ms=2_000), arrived(channel="chat"), at_ms=100)
        assert table.said[-1].expires_at_ms == 100 + 45_000 + 2_000

    def test_the_first_of_several_asked_wins_and_the_others_are_told(self) -> None:
        table = Table(queue(offers=Offers(parallel=3)))
        table.tell(*(seen(name) for name in ("ann", "bob", "cid", "dan")), arrived())
        assert [agent for _, agent in table.offers()] == ["ann", "bob", "cid"]

        table.tell(asked("accept", agent_id="bob", attempt=2))

        assert table.kinds() == ["Rescinded", "Rescinded", "Accepted"]
        assert {one.reason for one in only(decisions.Rescinded, table.said)} == {"taken"}
        table.tell(asked("accept", agent_id="ann", attempt=1, command_id="late"))
        assert [one.reason for one in table.said] == ["offer_over"]

    def test_a_contact_waits_again_only_when_all_who_were_asked_are_gone(self) -> None:
        table = Table(queue(offers=Offers(parallel=2)))
        table.tell(seen("ann"), seen("bob"), arrived())

        table.tell(asked("decline", agent_id="ann", attempt=1))
        assert table.state.contacts["c1"].state == "offered"
        table.tell(asked("decline", agent_id="bob", attempt=2, command_id="d2"))
        assert table.state.contacts["c1"].state == "queued"

    def test_the_only_one_who_could_serve_is_asked_again_soon_after_a_decline(self) -> None:
        table = Table()
        table.tell(seen("ann"), arrived(), at_ms=0)
        table.tell(asked("decline"))
        assert table.offers() == []

        table.tick(5_000)
        assert table.offers() == [("c1", "ann")]

    def test_with_others_signed_in_who_declined_is_left_alone_longer(self) -> None:
        table = Table()
        table.tell(seen("ann"), seen("bob", presence="break"), arrived(), at_ms=0)
        table.tell(asked("decline"))

        table.tick(5_000)
        assert table.offers() == []
        table.tick(30_000)
        assert table.offers() == [("c1", "ann")]

    def test_some_strikes_in_a_row_and_the_agent_is_not_responding(self) -> None:
        table = Table(queue(offers=Offers(strikes=2)))
        table.tell(seen(), arrived(), at_ms=0)

        table.tick(20_000)
        assert table.offers() == [("c1", "ann")]
        table.tick(40_000)
        assert table.state.agents["ann"].routing_state == "not_responding"
        assert [one.reason for one in only(decisions.AgentRouting, table.said)] == ["offer_not_answered"]

    @pytest.mark.parametrize("who", ["queue", "agent"])
    def test_an_offer_is_accepted_by_itself_where_the_queue_or_the_agent_says_so(self, who: str) -> None:
        table = Table(queue(offers=Offers(auto_accept=who == "queue")))

        table.tell(seen(auto_accept=who == "agent"), arrived())
        assert table.kinds() == ["Queued", "Offered", "Accepted"]

    def test_an_agent_who_does_not_respond_in_time_loses_the_contact(self) -> None:
        table = Table(queue(offers=Offers(first_response_ms=60_000)))
        table.tell(seen("ann"), arrived(), asked("accept"), at_ms=0)
        table.tell(seen("bob"))

        table.tick(60_000)
        assert table.kinds() == ["Requeued", "Offered"]
        assert table.said[0].reason == "no_first_response" and table.offers() == [("c1", "bob")]

    def test_a_response_ends_the_watch(self) -> None:
        table = Table(queue(offers=Offers(first_response_ms=60_000)))
        table.tell(seen(), arrived(), asked("accept"), asked("respond", command_id="r"), at_ms=0)
        assert table.kinds()[-1] == "Responded"

        assert table.tick(60_000) == []


class TestQueues:
    def test_the_length_cap_is_exact(self) -> None:
        table = Table(queue(length_max=2))

        table.tell(*(arrived(f"c{n}") for n in range(5)))
        assert [(one.contact_id, one.reason) for one in only(decisions.Overflowed, table.said)] == [
            ("c2", "queue_full"),
            ("c3", "queue_full"),
            ("c4", "queue_full"),
        ]

    def test_a_contact_that_is_served_at_once_needs_no_place(self) -> None:
        table = Table(queue(length_max=1))

        table.tell(seen("ann"), seen("bob"), *(arrived(f"c{n}") for n in range(4)))
        assert [one.contact_id for one in only(decisions.Overflowed, table.said)] == ["c3"]

    def test_a_contact_whose_offer_came_back_is_not_turned_away(self) -> None:
        table = Table(queue(length_max=1))
        table.tell(seen(), arrived("c1"), arrived("c2"))

        table.tell(seen(seq=2, presence="break"))
        assert table.kinds() == ["Rescinded"]
        assert {one.state for one in table.state.contacts.values()} == {"queued"}

    def test_a_contact_expires_after_its_time_to_live_and_says_so(self) -> None:
        table = Table(queue(ttl_ms=60_000))
        table.tell(arrived("c1", accepted_at_ms=0), at_ms=0)

        table.tick(60_000)
        assert [(type(one).__name__, one.waited_ms) for one in table.said] == [("Expired", 60_000)]

    @pytest.mark.parametrize(
        ("when", "overflows"),
        [
            (Condition(length_over=1), {"c2", "c3"}),
            (Condition(unstaffed=True), {"c1", "c2", "c3"}),
            (Condition(all_busy=True), {"c1", "c2", "c3"}),
            (Condition(closed=True), set()),
            (Condition(longest_wait_over_ms=5_000), {"c3"}),
            (Condition(length_over=1, unstaffed=True, closed=True), set()),
        ],
    )
    def test_overflow_conditions_are_checked_as_contacts_come(self, when: Condition, overflows: set[str]) -> None:
        table = Table(queue(overflow=(Overflow(when=when, queue="other"),)), queue("other"))

        said = table.tell(arrived("c1"), at_ms=0) + table.tell(arrived("c2"), at_ms=1_000)
        said += table.tell(arrived("c3"), at_ms=9_000)
        assert {one.contact_id for one in only(decisions.Moved, said)} == overflows

    def test_standing_conditions_are_checked_again_on_every_change(self) -> None:
        table = Table(queue(overflow=(Overflow(when=Condition(unstaffed=True), queue="other"),)), queue("other"))
        table.tell(seen(presence="break"), arrived("c1"))
        assert only(decisions.Moved, table.said) == []

        table.tell(seen(seq=2, presence="offline"))
        assert [one.queue_id for one in only(decisions.Moved, table.said)] == ["other"]

    def test_a_contact_overflows_when_it_has_waited_too_long(self) -> None:
        table = Table(queue(overflow=(Overflow(when=Condition(waited_over_ms=30_000), queue="other"),)), queue("other"))
        table.tell(arrived("c1"), at_ms=0)

        assert only(decisions.Moved, table.tick(30_000)) == []
        (moved,) = only(decisions.Moved, table.tick(30_001))
        assert (moved.from_queue, moved.queue_id) == ("billing", "other")

    def test_a_long_estimate_turns_away_whom_it_concerns(self) -> None:
        home = Home(expected_handle_ms=100_000)
        rule = Overflow(when=Condition(estimated_wait_over_ms=250_000), message="please try later")
        table = Table(queue(overflow=(rule,), home=home))
        table.tell(seen(), *(arrived(f"c{n}") for n in range(6)))

        gone = only(decisions.Overflowed, table.said)
        assert {one.reason for one in gone} == {"estimated_wait_over"}
        assert [one.contact_id for one in gone] == ["c3", "c4", "c5"]  # the second in line waits 168 s, the third 267 s

    def test_an_overflow_to_a_callback_keeps_the_place(self) -> None:
        rule = Overflow(when=Condition(waited_over_ms=10_000), callback=True)
        table = Table(queue(overflow=(rule,)))
        table.tell(arrived("first"), at_ms=0)
        table.tick(10_001)
        assert table.kinds() == ["CallbackArranged"]
        table.tell(arrived("second"))

        table.tell(seen())
        (made,) = only(decisions.Offered, table.said)
        assert (made.contact_id, made.channel) == ("first", "callback")

    def test_a_closed_queue_ends_contacts_with_a_message(self) -> None:
        rule = Overflow(when=Condition(closed=True), message="we open at nine")
        table = Table(queue(overflow=(rule,)))
        table.tell(arrived("waiting"))

        table.tell(events.QueueOpened(queue_id="billing", is_open=False))
        assert [(one.reason, one.message) for one in table.said] == [("closed", "we open at nine")]
        table.tell(events.QueueOpened(queue_id="billing", is_open=True), arrived("later"))
        assert table.kinds() == ["Queued"]

    def borrowing(self, guard: Condition) -> Table:
        borrow = Borrow(lender="sales", when=Condition(length_over=1), guard=guard)
        return Table(queue(requirements=(("billing", 1),), borrow=borrow), queue("sales", requirements=(("sales", 1),)))

    def test_agents_are_borrowed_when_it_is_needed_and_no_longer(self) -> None:
        table = self.borrowing(Condition())
        table.tell(seen("sam", skills=(("sales", 50),), units=18), arrived("c1"))
        assert table.offers() == []

        table.tell(arrived("c2"))
        assert table.offers() == [("c1", "sam")]
        table.tell(arrived("c3", queue_id="sales"))
        assert ("c3", "sam") in table.offers()

    def test_the_lenders_guard_keeps_its_agents(self) -> None:
        table = self.borrowing(Condition(length_over=0))
        table.tell(arrived("s1", queue_id="sales", need=Need(skill="rare")))  # the lender has a queue of its own

        table.tell(seen("sam", skills=(("sales", 50),)), arrived("c1"), arrived("c2"))
        assert table.offers() == []

    def test_a_split_gives_the_same_customer_the_same_queue(self) -> None:
        table = Table(queue(split=(Share(queue="a", percent=80), Share(queue="b", percent=20))), queue("a"), queue("b"))
        found: dict[str, set[str]] = {}
        for number in range(600):
            (one,) = table.tell(arrived(f"c{number}", customer=f"k{number % 300}"))
            found.setdefault(f"k{number % 300}", set()).add(one.queue_id)

        assert all(len(queues) == 1 for queues in found.values())
        assert 0.7 < sum(queues == {"a"} for queues in found.values()) / 300 < 0.9

    def test_an_agent_gets_no_more_than_its_fair_share_in_a_window(self) -> None:
        table = Table(queue(fair=Fair(offers=2, window_ms=60_000), offers=Offers(auto_accept=True)))
        table.tell(seen(units=60), *(arrived(f"c{n}") for n in range(5)), at_ms=0)
        assert len(table.offers()) == 2

        assert table.tick(29_999) == []
        table.tick(30_000)
        assert table.offers() == [("c2", "ann")]

    def test_a_policy_change_counts_for_who_waits_and_loses_nobody(self) -> None:
        table = Table(queue(requirements=(("billing", 80),)))
        table.tell(seen(skills=(("billing", 50),), units=60), *(arrived(f"c{n}") for n in range(9)))
        assert table.offers() == []

        table.tell(events.QueueSet(queue=queue(version=2, requirements=(("billing", 40),))))
        assert [contact for contact, _ in table.offers()] == [f"c{n}" for n in range(9)]


class TestHomeAgents:
    @pytest.mark.parametrize(
        ("limit", "reason"),
        [
            ({"break_due_ms": 100_000}, "break_due"),
            ({"shift_ends_ms": 100_000}, "shift_ends"),
            ({"denied_from_ms": 100_000, "denied_reason": "weekly_maximum"}, "weekly_maximum"),
        ],
    )
    def test_no_offer_would_run_past_a_break_a_shift_or_the_hours(self, limit: dict[str, Any], reason: str) -> None:
        table = Table(queue(home=Home(expected_handle_ms=60_000)))
        table.tell(seen(**limit), arrived("c1"), at_ms=40_000)
        assert table.offers() == [("c1", "ann")]
        table.tell(asked("accept"), asked("complete"))

        table.tell(arrived("c2"), at_ms=40_001)
        assert table.offers() == []
        assert {one.reason for one in only(decisions.OfferDenied, table.tell(seen(seq=2, **limit)))} <= {reason}
        assert table.state.agents["ann"].told_denial

    def test_a_denial_is_said_once(self) -> None:
        table = Table(queue(home=Home(expected_handle_ms=60_000)))

        table.tell(arrived("c1"), seen(break_due_ms=30_000))
        denied = only(decisions.OfferDenied, table.said)
        table.tell(arrived("c2"), seen(seq=2, break_due_ms=30_000))
        assert [one.reason for one in denied] == ["break_due"] and only(decisions.OfferDenied, table.said) == []

    def test_who_costs_a_premium_is_asked_last_and_not_at_all_where_it_is_not_allowed(self) -> None:
        table = Table(queue(), queue("thrifty", home=Home(premium=False)))
        table.tell(seen("late", premium_from_ms=500), at_ms=1_000)
        table.tell(arrived("t", queue_id="thrifty"))
        assert table.offers() == []
        table.tell(seen("fresh"), at_ms=2_000)
        assert table.offers() == [("t", "fresh")]

        table.tell(arrived("c"))
        assert table.offers() == [("c", "late")]

    def test_a_bad_line_gets_no_calls_and_still_gets_mail(self) -> None:
        table = Table(queue("calls", home=Home(link_score_min=60)), queue("mail"))
        table.tell(
            seen(link_score=40), arrived("call", queue_id="calls"), arrived("m", queue_id="mail", channel="email")
        )
        assert table.offers() == [("m", "ann")]

        table.tell(asked("accept", contact_id="m"), asked("complete", contact_id="m"))
        table.tell(seen(seq=2, link_score=80))
        assert table.offers() == [("call", "ann")]

    @pytest.mark.parametrize("known_before", [True, False])
    def test_headroom_is_kept_for_a_queue_that_names_its_agents(self, known_before: bool) -> None:
        assist, seen_ann = replace(queue("assist"), need=Need(agent="ann")), seen("ann")
        table = Table(queue(headroom=Headroom(queue="assist", agents=1)))
        first = events.QueueSet(queue=assist)
        table.tell(*((seen_ann, first) if known_before else (first, seen_ann)))

        table.tell(arrived("c1"))

        assert table.offers() == []

    def test_headroom_for_a_queue_that_names_its_agents_is_kept_after_a_rebuild(self) -> None:
        assist = replace(queue("assist"), need=Need(agent="ann"))
        table = Table(assist, queue(headroom=Headroom(queue="assist", agents=1)))
        table.tell(seen("ann"))
        known = table.state
        table.state = restore(
            queues=list(known.queues.values()), agents=list(known.agents.values()), contacts=[], ended={}, now_ms=1_000
        )

        table.tell(arrived("c1"))

        assert table.offers() == []

    def test_a_lender_that_names_its_agents_is_staffed_by_them(self) -> None:
        borrow = Borrow(lender="named", when=Condition(length_over=0), guard=Condition(unstaffed=True))
        named = replace(queue("named"), need=Need(any=(Need(agent="ann"), Need(agent="bob"))))
        table = Table(named, queue(requirements=(("x", 1),), borrow=borrow))
        table.tell(seen("ann"))

        table.tell(arrived("c1"))

        assert table.offers() == [("c1", "ann")]

    def test_headroom_keeps_agents_free_for_live_assist(self) -> None:
        table = Table(queue(headroom=Headroom(queue="assist", agents=1)), queue("assist"))
        table.tell(seen("ann"), seen("bob"), arrived("c1"), arrived("c2"))
        assert table.offers() == [("c1", "ann")]

        table.tell(arrived("help", queue_id="assist", channel="screen_share"))
        assert table.offers() == [("help", "bob")]
        table.tell(asked("accept", command_id="a1"), asked("complete", command_id="x1"))
        assert table.offers() == []
        table.tell(seen("cid"))
        assert [contact for contact, _ in table.offers()] == ["c2"]


class TestTransfersAndCallbacks:
    def test_a_transfer_to_a_queue_keeps_the_age(self) -> None:
        table = Table(queue(), queue("tax"))
        table.tell(seen("ann"), arrived("c1", accepted_at_ms=1), asked("accept"), arrived("x", queue_id="tax"))
        table.tell(asked("transfer", command_id="t", to_queue="tax"), seen("bob"))

        assert [contact for contact, _ in table.offers() if contact == "c1"] == ["c1"]
        assert table.state.contacts["c1"].routing_age_at_ms == 1

    def test_a_transfer_to_an_agent_waits_for_that_agent_first(self) -> None:
        table = Table(queue(offers=Offers(decline_memory_ms=60_000)))
        table.tell(seen("ann"), seen("bob", presence="break"), seen("cid"), arrived(), asked("accept"), at_ms=0)

        table.tell(asked("transfer", command_id="t", to_agent="bob"))
        assert table.offers() == []
        table.tick(30_000)
        assert table.offers() == [("c1", "cid")]

    def test_a_transfer_with_a_new_need_stays_in_the_queue(self) -> None:
        table = Table()
        table.tell(seen("ann"), seen("bob"), seen("cid", skills=(("tax", 9),)), arrived(), asked("accept"))

        table.tell(asked("transfer", command_id="t", need=Need(skill="tax")))
        assert table.offers() == [("c1", "cid")]

    def test_transfers_end_in_a_refusal_and_not_in_a_circle(self) -> None:
        table = Table(queue(transfers_max=1))
        table.tell(seen("ann"), seen("bob"), arrived(), asked("accept"))
        table.tell(asked("transfer", command_id="t1", to_agent="bob"))
        table.tell(asked("accept", agent_id="bob", attempt=2, command_id="a2"))

        table.tell(asked("transfer", agent_id="bob", attempt=2, command_id="t2", to_agent="ann"))
        assert [one.reason for one in table.said] == ["too_many_transfers"]
        assert table.state.contacts["c1"].state == "assigned"

    @pytest.mark.parametrize(
        ("target", "reason"),
        [
            ({"to_queue": "none"}, "unknown_queue"),
            ({"to_agent": "none"}, "unknown_agent"),
            ({"to_agent": "ann"}, "unknown_agent"),
        ],
    )
    def test_a_transfer_to_nowhere_is_refused(self, target: dict[str, str], reason: str) -> None:
        table = Table()
        table.tell(seen("ann"), arrived(), asked("accept"))

        table.tell(asked("transfer", command_id="t", **target))
        assert [one.reason for one in table.said] == [reason]

    def test_a_scheduled_contact_waits_for_its_time_and_ages_from_then(self) -> None:
        table = Table()
        table.tell(seen(), arrived("c1", not_before_ms=60_000), at_ms=0)
        assert table.kinds() == ["Scheduled"]

        table.tick(60_000)
        assert table.kinds() == ["Queued", "Offered"]
        assert table.said[0].routing_age_at_ms == 60_000

    def test_a_callback_that_the_customer_asks_for_keeps_the_place_or_comes_at_its_time(self) -> None:
        table = Table()
        table.tell(arrived("now", accepted_at_ms=1), arrived("later", accepted_at_ms=0), at_ms=10)
        table.tell(
            events.CallbackAsked(contact_id="now"), events.CallbackAsked(contact_id="later", not_before_ms=90_000)
        )
        assert table.kinds() == ["CallbackArranged", "CallbackArranged"]

        table.tell(seen())
        assert [(one.contact_id, one.channel) for one in only(decisions.Offered, table.said)] == [("now", "callback")]
        assert [one.contact_id for one in only(decisions.Queued, table.tick(90_000))] == ["later"]


class TestEstimates:
    def test_the_position_counts_only_who_competes_for_the_same_agents(self) -> None:
        table = Table()
        table.tell(seen("ann", skills=(("es", 1),), presence="break"), seen("bob", presence="break"))
        table.tell(*(arrived(f"x{n}", need=Need(skill="rare")) for n in range(5)))
        table.tell(arrived("c1", need=Need(skill="es")), arrived("c2"))

        assert estimate(table.state, table.state.contacts["c1"]).position == 1
        assert estimate(table.state, table.state.contacts["c2"]).position == 2
        assert estimate(table.state, table.state.contacts["x0"]).p50_ms is None  # nobody could serve it

    def test_the_estimate_is_the_gamma_quantile_of_the_turns_before(self) -> None:
        table = Table(queue(home=Home(expected_handle_ms=60_000)))
        table.tell(seen("ann", presence="break"), seen("bob", presence="break"), *(arrived(f"c{n}") for n in range(4)))

        found = estimate(table.state, table.state.contacts["c3"])
        # Gamma(4) has its median at 3.6721 and its 90th percentile at 6.6808; each turn takes 60 s / 2 agents
        assert found.agents == 2
        assert found.p50_ms == pytest.approx(3.6721 * 30_000, rel=0.01)
        assert found.p90_ms == pytest.approx(6.6808 * 30_000, rel=0.01)

    def test_conversations_teach_the_handle_time(self) -> None:
        table = Table()
        table.tell(seen(), arrived(), asked("accept"), at_ms=0)
        table.tell(asked("complete"), at_ms=42_000)

        assert table.state.handlings["billing", "voice"].mean_ms == 42_000
