"""What the core promises about single contacts and agents."""

from typing import Any

import pytest

from router.core import State, step
from router.core.index.state import ENDED_REMEMBERED_MS, FORGET_MASK, next_due_ms, remember_ended
from router.core.invariants import check
from router.core.model import decisions, events
from tests.support.builders import arrived, asked, queue, seen


def play(*told: events.Input, state: State | None = None, now_ms: int = 100) -> tuple[State, list[Any]]:
    state = state or State()
    if "billing" not in state.queues:
        step(state, events.QueueSet(queue=queue()), now_ms)
    decided: list[Any] = []
    for one in told:
        decided.extend(step(state, one, now_ms))
        check(state)
    return state, decided


def kinds(decided: list[Any]) -> list[str]:
    return [type(one).__name__ for one in decided if not isinstance(one, decisions.AgentRouting)]


def offers(decided: list[Any]) -> list[tuple[str, str]]:
    return [(one.contact_id, one.agent_id) for one in decided if isinstance(one, decisions.Offered)]


def test_a_contact_is_offered_to_an_available_agent() -> None:
    _, decided = play(seen(), arrived())

    assert kinds(decided) == ["Queued", "Offered"]
    assert decided[-1].expires_at_ms == 100 + 20_000


def test_a_contact_told_twice_is_one_contact() -> None:
    _, decided = play(seen("ann"), seen("bob"), arrived(), arrived())

    assert offers(decided) == [("c1", "ann")]


def test_a_contact_told_again_after_its_end_stays_over() -> None:
    state, _ = play(seen("ann"), seen("bob"), arrived(), asked("accept"), asked("complete"))

    _, decided = play(arrived(), state=state)

    assert decided == []


def test_an_agent_who_is_not_available_gets_nothing() -> None:
    _, decided = play(seen(presence="break"), arrived())

    assert kinds(decided) == ["Queued"]


def test_skills_count_at_their_level() -> None:
    needs = arrived(requirements=(("spanish", 60),))

    _, decided = play(seen("ann", skills=(("spanish", 59),)), seen("bob", skills=(("spanish", 60),)), needs)

    assert offers(decided) == [("c1", "bob")]


def test_the_queues_requirements_are_the_contacts_too() -> None:
    state = State()
    step(state, events.QueueSet(queue=queue(requirements=(("billing", 50),))), 0)

    _, decided = play(seen("ann"), seen("bob", skills=(("billing", 70),)), arrived(), state=state)

    assert offers(decided) == [("c1", "bob")]


def test_an_agent_of_another_pool_gets_nothing() -> None:
    _, decided = play(seen(pool="other"), arrived())

    assert kinds(decided) == ["Queued"]


def test_higher_priority_goes_first_then_the_older_one_then_the_smaller_id() -> None:
    waiting = [
        arrived("c1", accepted_at_ms=50),
        arrived("c2", accepted_at_ms=10),
        arrived("c3", priority=5, accepted_at_ms=90),
        arrived("c4", accepted_at_ms=10),
    ]

    _, decided = play(*waiting, *(seen(name) for name in ("a1", "a2", "a3", "a4")))

    assert offers(decided) == [("c3", "a1"), ("c2", "a2"), ("c4", "a3"), ("c1", "a4")]


def test_the_longest_idle_agent_is_asked() -> None:
    state, _ = play(seen("bob"), now_ms=10)
    play(seen("ann"), state=state, now_ms=20)

    _, decided = play(arrived(), state=state, now_ms=30)

    assert offers(decided) == [("c1", "bob")]


def test_work_resets_the_idle_clock() -> None:
    state, _ = play(seen("ann"), now_ms=10)
    play(seen("bob"), state=state, now_ms=20)
    play(arrived("c1"), asked("accept"), state=state, now_ms=30)
    play(asked("complete"), state=state, now_ms=60)

    _, decided = play(arrived("c2"), state=state, now_ms=70)

    assert offers(decided) == [("c2", "bob")]


def test_a_missed_offer_does_not_reset_the_idle_clock() -> None:
    state, _ = play(seen("ann", skills=(("rare", 1),)), now_ms=10)
    play(seen("bob"), arrived("c1", requirements=(("rare", 1),)), state=state, now_ms=20)
    play(asked("decline"), state=state, now_ms=40)

    _, decided = play(arrived("c2"), state=state, now_ms=50)

    assert offers(decided) == [("c2", "ann")]


@pytest.mark.parametrize(("channel", "number"), [("voice", 1), ("chat", 3), ("email", 6)])
def test_an_agent_of_six_units_has_as_many_contacts_as_the_channel_allows(channel: str, number: int) -> None:
    _, decided = play(seen(), *(arrived(f"c{n}", channel=channel) for n in range(9)))

    assert len(offers(decided)) == number


def test_capacity_is_shared_by_channels() -> None:
    _, decided = play(seen(), arrived("c1", channel="email"), arrived("c2"), arrived("c3", channel="chat"))

    assert offers(decided) == [("c1", "ann"), ("c3", "ann")]


def test_an_unanswered_offer_goes_back_to_the_head_and_the_agent_is_not_responding() -> None:
    state, _ = play(seen("ann"), arrived("c1", accepted_at_ms=1), now_ms=100)
    play(arrived("c2", accepted_at_ms=2), seen("bob", presence="away"), state=state, now_ms=200)
    assert next_due_ms(state) == 20_100

    _, decided = play(events.Ticked(), state=state, now_ms=20_100)
    _, later = play(seen("bob", seq=2), state=state, now_ms=20_200)

    assert kinds(decided) == ["TimedOut"]
    assert state.agents["ann"].routing_state == "not_responding"
    assert offers(later) == [("c1", "bob")]


def test_an_accept_at_the_expiry_is_too_late() -> None:
    state, _ = play(seen(), arrived(), now_ms=100)

    _, decided = play(asked("accept"), state=state, now_ms=20_100)

    assert kinds(decided) == ["TimedOut", "Refused"]
    assert decided[-1].reason == "offer_over"


def test_an_agent_not_responding_is_ready_again_when_it_says_so() -> None:
    state, _ = play(seen(), arrived(), now_ms=100)
    play(events.Ticked(), state=state, now_ms=20_100)

    _, decided = play(seen(seq=2), state=state, now_ms=30_000)

    assert offers(decided) == [("c1", "ann")]


def test_a_declined_contact_goes_to_somebody_else_first() -> None:
    state, _ = play(seen("ann"), now_ms=10)
    play(seen("bob"), arrived(), state=state, now_ms=20)

    _, decided = play(asked("decline"), state=state, now_ms=30)

    assert kinds(decided) == ["Declined", "Offered"]
    assert offers(decided) == [("c1", "bob")]


def test_a_declined_contact_comes_back_when_nobody_else_took_it() -> None:
    state, _ = play(seen(), arrived(), now_ms=100)
    _, decided = play(asked("decline"), state=state, now_ms=200)
    assert kinds(decided) == ["Declined"]

    _, later = play(events.Ticked(), state=state, now_ms=30_200)

    assert offers(later) == [("c1", "ann")]


def test_who_declined_gets_the_next_contact() -> None:
    state, _ = play(seen(), arrived("c1"), arrived("c2"), now_ms=100)

    _, decided = play(asked("decline"), state=state, now_ms=200)

    assert offers(decided) == [("c2", "ann")]


def test_a_life_with_wrap_up() -> None:
    state = State()
    step(state, events.QueueSet(queue=queue(wrap_up_ms=5_000)), 0)

    _, decided = play(seen(), arrived(), asked("accept"), asked("complete"), asked("end_wrap_up"), state=state)

    assert kinds(decided) == ["Queued", "Offered", "Accepted", "WrapUpBegan", "Completed"]
    assert not state.contacts


def test_wrap_up_ends_by_itself_and_frees_the_agent() -> None:
    state = State()
    step(state, events.QueueSet(queue=queue(wrap_up_ms=5_000)), 0)
    play(seen(), arrived("c1"), arrived("c2"), asked("accept"), asked("complete"), state=state, now_ms=100)

    _, decided = play(events.Ticked(), state=state, now_ms=5_100)

    assert kinds(decided) == ["Completed", "Offered"]
    assert decided[0].reason == "wrap_up_timeout"


@pytest.mark.parametrize(("reason", "end"), [("customer_gave_up", "Abandoned"), ("withdrawn", "Cancelled")])
def test_a_customer_who_leaves_while_an_offer_is_out_takes_it_back(reason: str, end: str) -> None:
    state, _ = play(seen(), arrived())

    _, decided = play(events.CancelAsked(contact_id="c1", reason=reason), state=state)

    assert kinds(decided) == ["Rescinded", end]
    assert state.agents["ann"].used_units == 0


def test_a_customer_who_leaves_an_agent_ends_the_conversation() -> None:
    state, _ = play(seen(), arrived(), asked("accept"))

    _, decided = play(events.CancelAsked(contact_id="c1", reason="customer_gave_up"), state=state)

    assert kinds(decided) == ["Completed"]
    assert decided[0].actor == "customer"


def test_a_cancellation_of_what_is_unknown_or_over_does_nothing() -> None:
    state, _ = play(seen(), arrived(), asked("accept"), asked("complete"))

    _, decided = play(
        events.CancelAsked(contact_id="c1", reason="withdrawn"),
        events.CancelAsked(contact_id="other", reason="withdrawn"),
        state=state,
    )

    assert decided == []


def test_a_lost_line_takes_back_the_offer_and_holds_the_conversation() -> None:
    state, _ = play(seen("ann"), arrived("c1", channel="chat"), asked("accept"), arrived("c2", channel="chat"))

    _, decided = play(seen("ann", seq=2, presence="offline", link_lost=True), state=state)

    assert kinds(decided) == ["LinkWasLost", "Rescinded"]
    assert decided[0].held_until_ms == 15_100


def test_an_agent_who_comes_back_in_time_goes_on() -> None:
    state, _ = play(seen(), arrived(), asked("accept"))
    play(seen(seq=2, presence="offline", link_lost=True), state=state)

    _, decided = play(seen(session_no=2, seq=3), state=state, now_ms=10_000)

    assert kinds(decided) == ["LinkWasRestored"]
    assert decided[0].state == "assigned"


def test_a_paused_contact_is_paused_again_when_its_agent_comes_back() -> None:
    state, _ = play(seen(), arrived(), asked("accept"), asked("pause"))
    play(seen(seq=2, presence="offline", link_lost=True), state=state)

    _, decided = play(seen(session_no=2, seq=3), state=state, now_ms=10_000)

    assert [one.state for one in decided if isinstance(one, decisions.LinkWasRestored)] == ["paused"]


def test_memory_of_what_ended_shrinks_after_a_peak() -> None:
    state = State()
    for number in range(50_000):
        remember_ended(state, f"c{number}", 0)

    for number in range(1_000):
        remember_ended(state, f"d{number}", ENDED_REMEMBERED_MS + number)

    assert len(state.ended) <= 1_000 + FORGET_MASK
    assert "d0" in state.ended


def test_an_agent_who_does_not_come_back_loses_the_contact_with_its_age_kept() -> None:
    state, _ = play(seen("ann"), arrived("c1", accepted_at_ms=1), asked("accept"))
    play(seen("ann", seq=2, presence="offline", link_lost=True), arrived("c2", accepted_at_ms=50), state=state)

    _, gone = play(events.Ticked(), state=state, now_ms=15_100)
    _, decided = play(seen("bob"), state=state, now_ms=15_200)

    assert kinds(gone) == ["Requeued"]
    assert offers(decided) == [("c1", "bob")]


def test_an_older_picture_of_an_agent_is_ignored() -> None:
    state, _ = play(seen(session_no=2, seq=9, presence="break"))

    _, decided = play(seen(session_no=2, seq=8), seen(session_no=1, seq=99), arrived(), state=state)

    assert kinds(decided) == ["Queued"]


def test_a_command_of_an_older_session_is_refused() -> None:
    state, _ = play(seen(), arrived())
    play(seen(session_no=2, seq=2), state=state)

    _, decided = play(asked("accept", attempt=2), state=state)

    assert decided[-1].reason == "old_session"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (asked("accept", contact_id="other"), "unknown_contact"),
        (asked("accept", agent_id="bob"), "not_offered_to_you"),
        (asked("accept", attempt=2), "unknown_contact"),
        (asked("complete"), "not_held_by_you"),
        (asked("end_wrap_up"), "not_held_by_you"),
    ],
)
def test_a_command_that_is_not_the_agents_to_give_is_refused(command: events.AgentAsked, reason: str) -> None:
    state, _ = play(seen("ann"), arrived(), seen("bob", presence="break"))

    _, decided = play(command, state=state)

    assert [one.reason for one in decided] == [reason]
    assert state.contacts["c1"].state == "offered"


def test_an_accept_of_an_earlier_attempt_is_too_late_even_for_the_same_agent() -> None:
    state, _ = play(seen(), arrived(), now_ms=100)
    play(events.Ticked(), state=state, now_ms=20_100)
    play(seen(seq=2), state=state, now_ms=20_200)

    _, decided = play(asked("accept", attempt=1), state=state, now_ms=20_300)

    assert [one.reason for one in decided] == ["offer_over"]


def test_a_command_told_twice_is_done_once_and_another_one_hears_that_it_is_done() -> None:
    state, _ = play(seen(), arrived(), asked("accept"))

    _, decided = play(asked("accept"), asked("accept", command_id="accept-2"), state=state)

    assert [one.reason for one in decided] == ["already_done"]


def test_an_unservable_contact_delays_nobody() -> None:
    blocked = [arrived(f"x{n}", priority=9, requirements=(("rare", 1),)) for n in range(200)]

    _, decided = play(*blocked, arrived("c1"), seen())

    assert offers(decided) == [("c1", "ann")]


def test_less_capacity_than_in_use_makes_no_new_offers() -> None:
    state, _ = play(seen(), arrived("c1", channel="chat"), arrived("c2", channel="chat"))

    _, decided = play(seen(seq=2, units=2), arrived("c3", channel="email"), state=state)

    assert offers(decided) == []


def test_a_new_session_is_said_although_the_agent_may_do_the_same_as_before() -> None:
    state, _ = play(seen(session_no=1, seq=1))

    _, decided = play(seen(session_no=2, seq=2), seen(session_no=2, seq=3), state=state)

    told = [one for one in decided if isinstance(one, decisions.AgentRouting)]
    assert [(one.session_no, one.routing_state) for one in told] == [(2, "ready")]
