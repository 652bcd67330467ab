"""A closed queue asks nobody first; borrowing begins and ends when its condition does, and not only when somebody calls."""

from typing import Any

import pytest

from common.contracts.policies import Borrow, Condition, Overflow
from router.core import inputs, outputs
from tests.support.builders import arrived, asked, queue, seen
from tests.support.table import Table

SHUT = Overflow(when=Condition(closed=True), message="We are closed.")


def only(kind: type[Any], said: list[Any]) -> list[Any]:
    return [one for one in said if isinstance(one, kind)]


class TestClosed:
    @pytest.mark.parametrize("there", [True, False])
    def test_who_comes_is_turned_away_whether_somebody_is_free_or_not(self, there: bool) -> None:
        table = Table(queue(overflow=(SHUT,)))
        table.tell(inputs.QueueOpened(queue_id="billing", is_open=False))
        table.tell(seen("ann", presence="available" if there else "break"))

        table.tell(arrived("c1"))

        assert table.kinds() == ["Queued", "Overflowed"]
        assert table.said[-1].reason == "closed"

    def test_the_next_queue_of_a_chain_that_is_closed_too_sends_on(self) -> None:
        table = Table(
            queue("a", overflow=(Overflow(when=Condition(closed=True), queue="b"),)),
            queue("b", overflow=(Overflow(when=Condition(closed=True), queue="c"),)),
            queue("c"),
        )
        table.tell(*(inputs.QueueOpened(queue_id=name, is_open=False) for name in "ab"), seen("ann"))

        table.tell(arrived(queue_id="a"))

        assert [one.queue_id for one in only(outputs.Offered, table.said)] == ["c"]

    def test_a_circle_of_closed_queues_ends(self) -> None:
        table = Table(
            queue("a", overflow=(Overflow(when=Condition(closed=True), queue="b"),)),
            queue("b", overflow=(Overflow(when=Condition(closed=True), queue="a"),)),
        )
        table.tell(*(inputs.QueueOpened(queue_id=name, is_open=False) for name in "ab"), seen("ann"))

        table.tell(arrived(queue_id="a"))

        assert len(only(outputs.Offered, table.said)) == 1

    def test_a_callback_by_rule_is_kept_and_offered(self) -> None:
        table = Table(queue(overflow=(Overflow(when=Condition(closed=True), callback=True),)))
        table.tell(inputs.QueueOpened(queue_id="billing", is_open=False), seen("ann"))

        table.tell(arrived("c1"))

        assert table.kinds() == ["Queued", "CallbackArranged", "Offered"]

    def test_without_a_rule_that_holds_agents_are_asked(self) -> None:
        rule = Overflow(when=Condition(closed=True, length_over=5), message="We are closed.")
        table = Table(queue(overflow=(rule,)))
        table.tell(inputs.QueueOpened(queue_id="billing", is_open=False), seen("ann"))

        table.tell(arrived("c1"))

        assert table.offers() == [("c1", "ann")]


def borrowing(when: Condition, guard: Condition | None = None) -> Table:
    """Queue b (skill x, nobody has it) may borrow the agents of l (skill y): ann, who talks to l1."""
    table = Table(
        queue("l", requirements=(("y", 1),)),
        queue("b", requirements=(("x", 1),), borrow=Borrow(lender="l", when=when, guard=guard or Condition())),
    )
    table.tell(seen("ann", skills=(("y", 5),)), arrived("l1", queue_id="l"), asked("accept", contact_id="l1"), at_ms=0)
    return table


class TestBorrowing:
    @pytest.mark.parametrize("when", [Condition(longest_wait_over_ms=10_000), Condition(waited_over_ms=10_000)])
    def test_it_begins_when_somebody_has_waited_for_so_long_and_nothing_else_happens(self, when: Condition) -> None:
        table = borrowing(when)
        table.tell(asked("complete", contact_id="l1"), at_ms=1_000)
        table.tell(arrived("b1", queue_id="b"), at_ms=2_000)

        early = [*table.offers(), *(table.tick(12_000) and table.offers())]
        table.tick(12_001)

        assert (early, table.offers()) == ([], [("b1", "ann")])

    def test_a_lent_agent_who_comes_free_is_asked_at_once(self) -> None:
        table = borrowing(Condition(longest_wait_over_ms=10_000))
        table.tell(arrived("b1", queue_id="b"), at_ms=0)
        table.tick(20_000)

        table.tell(asked("complete", contact_id="l1"), at_ms=60_000)

        assert table.offers() == [("b1", "ann")]

    def test_it_ends_when_the_lender_has_somebody_who_waits_too_long(self) -> None:
        table = borrowing(Condition(length_over=0), Condition(longest_wait_over_ms=5_000))
        table.tell(arrived("b1", queue_id="b"), at_ms=0)
        table.tell(arrived("l2", queue_id="l", requirements=(("z", 1),)), at_ms=1_000)

        before = set(table.state.borrowing)
        table.tick(6_001)

        assert (before, set(table.state.borrowing)) == ({"b"}, set())

    def test_a_new_policy_looks_at_who_waits_already(self) -> None:
        table = borrowing(Condition(length_over=9))
        table.tell(asked("complete", contact_id="l1"), arrived("b1", queue_id="b"), at_ms=1_000)
        rule = Borrow(lender="l", when=Condition(longest_wait_over_ms=10_000))
        table.tell(inputs.QueueSet(queue=queue("b", version=2, requirements=(("x", 1),), borrow=rule)), at_ms=2_000)

        table.tick(11_001)

        assert table.offers() == [("b1", "ann")]

    def test_while_all_of_its_own_are_busy_it_borrows_and_not_longer(self) -> None:
        table = borrowing(Condition(all_busy=True))
        table.tell(asked("complete", contact_id="l1"), seen("own", skills=(("x", 5),)), at_ms=1_000)

        table.tell(arrived("b1", queue_id="b"))
        first = table.offers()
        table.tell(arrived("b2", queue_id="b"))

        assert (first, table.offers()) == ([("b1", "own")], [("b2", "ann")])

    def test_a_guard_that_all_are_busy_lends_who_is_free(self) -> None:
        table = borrowing(Condition(length_over=0), Condition(all_busy=True))
        table.tell(arrived("b1", queue_id="b"), at_ms=500)
        busy = set(table.state.borrowing)

        table.tell(asked("complete", contact_id="l1"), at_ms=1_000)

        assert (busy, table.offers()) == (set(), [("b1", "ann")])
