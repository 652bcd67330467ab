"""A closed queue asks nobody first; borrowing begins and ends when its condition does, and not only when somebody calls."""

from typing import Any

import pytest

from common.contracts.policies import Borrow, Condition, Need, Overflow, Step
from router.core.model import decisions, events
from router.core.queries.estimate import estimate
from router.core.queries.explain import explain
from tests.support.builders import arrived, asked, queue, seen
from tests.support.table import Table

SHUT = Overflow(when=Condition(closed=True), message="We are closed.")


def only(kind: type[Any], said: list[Any]) -> list[Any]:
    return [one for one in said if isinstance(one, kind)]


class TestClosed:
    @pytest.mark.parametrize("there", [True, False])
    def test_who_comes_is_turned_away_whether_somebody_is_free_or_not(self, there: bool) -> None:
        table = Table(queue(overflow=(SHUT,)))
        table.tell(events.QueueOpened(queue_id="billing", is_open=False))
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
        table.tell(*(events.QueueOpened(queue_id=name, is_open=False) for name in "ab"), seen("ann"))

        table.tell(arrived(queue_id="a"))

        assert [one.queue_id for one in only(decisions.Offered, table.said)] == ["c"]

    def test_a_circle_of_closed_queues_ends(self) -> None:
        table = Table(
            queue("a", overflow=(Overflow(when=Condition(closed=True), queue="b"),)),
            queue("b", overflow=(Overflow(when=Condition(closed=True), queue="a"),)),
        )
        table.tell(*(events.QueueOpened(queue_id=name, is_open=False) for name in "ab"), seen("ann"))

        table.tell(arrived(queue_id="a"))

        assert len(only(decisions.Offered, table.said)) == 1

    def test_a_callback_by_rule_is_kept_and_offered(self) -> None:
        table = Table(queue(overflow=(Overflow(when=Condition(closed=True), callback=True),)))
        table.tell(events.QueueOpened(queue_id="billing", is_open=False), seen("ann"))

        table.tell(arrived("c1"))

        assert table.kinds() == ["Queued", "CallbackArranged", "Offered"]

    def test_without_a_rule_that_holds_agents_are_asked(self) -> None:
        rule = Overflow(when=Condition(closed=True, length_over=5), message="We are closed.")
        table = Table(queue(overflow=(rule,)))
        table.tell(events.QueueOpened(queue_id="billing", is_open=False), seen("ann"))

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
        table.tell(events.QueueSet(queue=queue("b", version=2, requirements=(("x", 1),), borrow=rule)), at_ms=2_000)

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


STEP = Step(need=Need(skill="es", min_level=50), expires_ms=60_000)


def helped(**policy: Any) -> Table:
    """Queue b (skill x, nobody has it) borrows the agents of l (skill y) while somebody waits in it."""
    borrow = Borrow(lender="l", when=Condition(length_over=0))
    return Table(queue("l", requirements=(("y", 1),)), queue("b", requirements=(("x", 1),), borrow=borrow, **policy))


class TestWhomItBorrows:
    """Borrowing sets aside what the queue asks of an agent, and never what the contact or its step asks."""

    @pytest.mark.parametrize(
        "own",
        [{"requirements": (("es", 50),)}, {"need": Need(language="es")}, {"need": Need(not_=Need(region="north"))}],
        ids=["skill", "language", "region ruled out"],
    )
    @pytest.mark.parametrize("first", ["contact", "agents"])
    def test_a_lent_agent_must_be_what_the_contact_asks_for(self, own: dict[str, Any], first: str) -> None:
        table = helped()
        contact = [arrived("b1", queue_id="b", **own)]
        unable = seen("plain", skills=(("y", 90),), region="north")
        able = seen("spanish", skills=(("es", 50), ("y", 1)), languages=("es",))
        in_turn = [*contact, unable, able] if first == "contact" else [unable, *contact, able]

        offered = [(type(one).__name__, table.tell(one) and table.offers()) for one in in_turn]

        assert offered[-1][1] == [("b1", "spanish")]
        assert [offers for _, offers in offered[:-1]] == [[], []]

    def test_who_meets_the_contact_but_neither_queue_is_not_asked(self) -> None:
        table = helped()

        table.tell(arrived("b1", queue_id="b", requirements=(("es", 50),)), seen("ann", skills=(("es", 90),)))

        assert table.offers() == []

    def test_a_contact_that_asks_for_what_its_queue_asks_asks_it_of_lent_agents_too(self) -> None:
        table = helped()
        table.tell(seen("olga", skills=(("y", 90),)))

        table.tell(arrived("same", queue_id="b", requirements=(("x", 1),)), arrived("any", queue_id="b"))

        assert table.offers() == [("any", "olga")]

    def test_a_lent_agent_must_be_what_the_step_asks_for_while_it_lasts(self) -> None:
        table = helped(steps=(STEP,))
        table.tell(seen("expert", presence="break", skills=(("es", 50), ("x", 1))), seen("olga", skills=(("y", 1),)))

        table.tell(arrived("b1", queue_id="b"), at_ms=1_000)
        during = table.offers()
        table.tick(61_000)

        assert (during, table.offers()) == ([], [("b1", "olga")])

    def test_a_step_that_a_lent_agent_could_serve_is_joined(self) -> None:
        table = helped(steps=(STEP,))
        table.tell(seen("busy", presence="break", skills=(("es", 90), ("y", 1))))
        table.tell(arrived("b1", queue_id="b"))  # it begins to borrow, and this one's step was passed over

        table.tell(arrived("b2", queue_id="b"))

        assert table.kinds() == ["Queued", "StepJoined"]

    def test_when_it_ends_a_step_that_only_lent_agents_could_serve_is_skipped(self) -> None:
        table = Table(
            queue("l", requirements=(("y", 1),)),
            queue(
                "b",
                requirements=(("x", 1),),
                steps=(STEP,),
                borrow=Borrow(lender="l", when=Condition(length_over=0), guard=Condition(length_over=0, closed=True)),
            ),
        )
        table.tell(seen("busy", presence="break", skills=(("es", 90), ("y", 1))))
        table.tell(arrived("b1", queue_id="b"), arrived("b2", queue_id="b"), arrived("l1", queue_id="l"))

        table.tell(events.QueueOpened(queue_id="l", is_open=False))

        assert table.kinds() == ["StepSkipped"]
        assert [one.contact_id for one in table.said] == ["b2"]

    def test_a_lender_that_asks_for_more_is_followed(self) -> None:
        table = helped(steps=(STEP,))
        table.tell(seen("busy", presence="break", skills=(("es", 90), ("y", 1))))
        table.tell(arrived("b1", queue_id="b"), arrived("b2", queue_id="b"))

        table.tell(events.QueueSet(queue=queue("l", version=2, requirements=(("y", 50),))))

        assert table.kinds() == ["StepSkipped"]

    def test_what_is_told_of_the_wait_counts_lent_agents_who_could_serve_the_contact(self) -> None:
        table = helped()
        table.tell(*(seen(name, presence="break", skills=(("y", 1),)) for name in ("olga", "otto")))
        table.tell(seen("spanish", presence="break", skills=(("es", 50), ("y", 1))))
        table.tell(arrived("b1", queue_id="b"), at_ms=1_000)
        table.tell(arrived("b2", queue_id="b", requirements=(("es", 50),)), at_ms=2_000)

        waits = [estimate(table.state, table.state.contacts[name]) for name in ("b1", "b2")]

        assert [(one.position, one.agents) for one in waits] == [(1, 3), (2, 1)]
        assert list(table.state.told) == ["b2"]  # what it teaches: nothing could be told to the first one as it came

    def test_an_explanation_says_what_an_agent_must_be_now(self) -> None:
        table = helped()
        table.tell(seen("olga", skills=(("y", 1),)), seen("eve", skills=(("z", 1),)))
        table.tell(arrived("b1", queue_id="b", requirements=(("es", 50),)))

        found = explain(table.state, table.state.contacts["b1"])

        assert dict(found.agents) == {"olga": "need", "eve": "queue_need"}
        assert [part.get("any") is not None or part.get("skill") for part in found.need["all"]] == [True, "es"]

    def test_a_contact_is_passed_on_to_a_lent_agent_while_it_is_borrowed(self) -> None:
        table = helped()
        table.tell(
            seen("olga", skills=(("y", 1),)),
            arrived("b1", queue_id="b"),
            asked("accept", agent_id="olga", contact_id="b1"),
        )
        table.tell(
            seen("otto", presence="break", skills=(("y", 1),)), arrived("b2", queue_id="b", requirements=(("es", 1),))
        )

        table.tell(asked("transfer", command_id="k2", agent_id="olga", contact_id="b1", to_agent="otto"))

        assert table.kinds() == ["Transferred", "StepJoined"]

    @pytest.mark.parametrize(("other", "again"), [("plain", [("b1", "olga")]), ("spanish", [])])
    def test_a_lent_agent_who_declines_is_asked_again_soon_where_no_other_could_serve_the_contact(
        self, other: str, again: list[tuple[str, str]]
    ) -> None:
        table = helped()
        skills = {"plain": (("y", 1),), "spanish": (("es", 50), ("y", 1))}
        table.tell(seen("otto", presence="break", skills=skills[other]), seen("olga", skills=skills["spanish"]))
        table.tell(arrived("b1", queue_id="b", requirements=(("es", 50),)))

        table.tell(asked("decline", agent_id="olga", contact_id="b1"), at_ms=2_000)
        table.tick(7_000)

        assert table.offers() == again
