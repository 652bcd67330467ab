"""Commands of agents: each is answered once, by an answer of its own."""

from typing import Any

from common.contracts.policies import Condition, Offers, Overflow
from router.core.lifecycle.queue import MOVES_MAX
from router.core.model import decisions, events
from tests.support.builders import arrived, asked, queue, seen
from tests.support.table import Table


def refusals(said: list[Any]) -> list[tuple[str, str, str]]:
    return [(one.command_id, one.agent_id, one.reason) for one in said if isinstance(one, decisions.Refused)]


def with_paused_contact(*more: events.Input) -> Table:
    """Ann paused the call c1 and talks on the line of c2."""
    table = Table(queue())
    table.tell(seen("ann"), arrived("c1"), asked("accept"), asked("pause"))
    table.tell(arrived("c2"), asked("accept", contact_id="c2", command_id="accept-2"), *more)
    return table


class TestCommandIds:
    def test_who_was_too_late_hears_so_even_with_the_winners_command_id(self) -> None:
        table = Table(queue(offers=Offers(parallel=2)))
        table.tell(seen("ann"), seen("bob"), arrived())
        table.tell(asked("accept", agent_id="bob", attempt=2, command_id="accept-c1"))

        table.tell(asked("accept", agent_id="ann", attempt=1, command_id="accept-c1"))

        assert refusals(table.said) == [("accept-c1", "ann", "offer_over")]

    def test_a_stranger_with_the_holders_complete_id_hears_that_it_is_not_theirs(self) -> None:
        table = Table(queue(wrap_up_ms=5_000))
        table.tell(seen("ann"), arrived(), seen("bob"), asked("accept"), asked("complete", command_id="over"))

        table.tell(asked("complete", agent_id="bob", command_id="over"))

        assert refusals(table.said) == [("over", "bob", "not_held_by_you")]

    def test_an_id_that_was_another_verbs_is_answered(self) -> None:
        for verb, kind in (
            ("complete", decisions.Completed),
            ("pause", decisions.Paused),
            ("respond", decisions.Responded),
        ):
            table = Table(queue())
            table.tell(seen(), arrived(), asked("accept", command_id="same"))

            table.tell(asked(verb, command_id="same"))

            assert [one.command_id for one in table.said if isinstance(one, kind)] == ["same"]


class TestPendingResumes:
    def test_a_transfer_answers_it_and_the_next_agent_never_hears_of_it(self) -> None:
        table = with_paused_contact(asked("resume", command_id="go-on"), seen("bob"))

        table.tell(asked("transfer", to_agent="bob"))
        answered = refusals(table.said)
        table.tell(asked("accept", agent_id="bob", attempt=2), seen("bob", seq=2, presence="offline", link_lost=True))

        assert answered == [("go-on", "ann", "already_done")]
        assert refusals(table.said) == []

    def test_the_end_of_the_contact_answers_it(self) -> None:
        for end in (asked("complete"), events.CancelAsked(contact_id="c1", reason="customer_gave_up")):
            table = with_paused_contact(asked("resume", command_id="go-on"))

            table.tell(end)

            assert refusals(table.said) == [("go-on", "ann", "already_done")]

    def test_a_newer_wish_takes_its_place_and_is_kept(self) -> None:
        table = with_paused_contact(asked("pause", contact_id="c2"), arrived("c3"))
        table.tell(asked("accept", contact_id="c3", command_id="accept-3"))
        table.tell(asked("resume", contact_id="c1", command_id="first"), at_ms=1_000)

        table.tell(asked("resume", contact_id="c2", command_id="second"), at_ms=2_000)
        refused = refusals(table.said)
        table.tick(31_500)  # the first one's time is over; the second one's is not
        table.tell(asked("complete", contact_id="c3"), at_ms=31_600)

        assert refused == [("first", "ann", "no_capacity")]
        assert [one.command_id for one in table.said if isinstance(one, decisions.Resumed)] == ["second"]


class TestTransfersAreCountedApart:
    def test_contacts_that_overflowed_often_may_still_be_passed_on(self) -> None:
        on = [
            queue(f"q{n}", overflow=(Overflow(when=Condition(waited_over_ms=10), queue=f"q{n + 1}"),))
            for n in range(12)
        ]
        table = Table(*on, queue("q12"))
        table.tell(arrived(queue_id="q0"))
        for at_ms in range(1_000, 1_200, 11):
            table.tick(at_ms)
        table.tell(seen(), at_ms=2_000)
        assert table.state.contacts["c1"].queue_id == "q12"
        table.tell(asked("accept"))

        table.tell(asked("transfer", to_queue="q0"))

        assert refusals(table.said) == []

    def test_one_that_moves_in_a_circle_stays_after_a_while(self) -> None:
        table = Table(
            queue("a", overflow=(Overflow(when=Condition(waited_over_ms=10), queue="b"),)),
            queue("b", overflow=(Overflow(when=Condition(waited_over_ms=10), queue="a"),)),
        )
        table.tell(arrived(queue_id="a"))
        moves = 0
        for at_ms in range(1_000, 2_000, 11):
            table.tick(at_ms)
            moves += sum(isinstance(one, decisions.Moved) for one in table.said)

        assert moves == MOVES_MAX
