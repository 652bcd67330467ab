"""Nobody has more in hand than they have units, unless a queue says that it may be so."""

import pytest

from common.contracts.policies import Capacity, MicroBatch, Offers
from router.core import step
from router.core.index.state import State
from router.core.invariants import check
from router.core.model import decisions, events
from router.core.rules.capacity import allot, demand_of
from tests.support.builders import arrived, asked, queue, seen
from tests.support.table import Table


def used(table: Table) -> dict[str, int]:
    return {name: agent.used_units for name, agent in table.state.agents.items()}


class TestBursts:
    def test_an_offer_to_several_at_a_time_takes_nobody_whom_the_burst_promised_to_another(self) -> None:
        table = Table(queue(micro_batch=MicroBatch(window_ms=100, burst=2), offers=Offers(parallel=2)))
        table.tell(arrived("c0", accepted_at_ms=1), at_ms=1)
        table.tell(arrived("c1", accepted_at_ms=2), at_ms=2)
        table.tell(seen("ann"), seen("bob"), at_ms=3)

        table.tick(200)
        assert sorted(table.offers()) == [("c0", "ann"), ("c0", "bob")] and used(table) == {"ann": 6, "bob": 6}

        table.tell(asked("accept", agent_id="ann", contact_id="c0"))
        assert table.offers() == [("c1", "bob")]

    def test_a_contact_of_a_burst_whose_agent_is_gone_gets_another(self) -> None:
        table = Table(queue(micro_batch=MicroBatch(window_ms=100, burst=2), offers=Offers(parallel=2)))
        table.tell(arrived("c0", accepted_at_ms=1), at_ms=1)
        table.tell(arrived("c1", accepted_at_ms=2), at_ms=2)
        table.tell(seen("ann"), seen("bob"), seen("cid"), at_ms=3)

        table.tick(200)
        assert sorted(table.offers()) == [("c0", "ann"), ("c0", "bob"), ("c1", "cid")]


class TestWhatGoesBeyond:
    def test_an_offer_says_which_picture_and_policy_it_was_made_under(self) -> None:
        table = Table(queue(version=7))
        table.tell(seen(session_no=3, seq=9), arrived())

        (made,) = [one for one in table.said if isinstance(one, decisions.Offered)]
        assert (made.session_no, made.seq, made.queue_version, made.capacity, made.over) == (3, 9, 7, 6, "")

    def test_interrupting_work_says_so(self) -> None:
        table = Table(queue("mail"), queue("calls", capacity=Capacity(interrupts=("email",))))
        table.tell(seen(), arrived("m", queue_id="mail", channel="email"))

        (made,) = [one for one in table.tell(arrived("c", queue_id="calls")) if isinstance(one, decisions.Offered)]
        assert made.over == "interrupt" and made.unit_numbers == (2, 3, 4, 5, 6, 7)

    def test_a_resumed_contact_says_so_too(self) -> None:
        table = Table(queue(capacity=Capacity(exceed=True)), queue("calls"))
        table.tell(seen(), arrived(), asked("accept"), asked("pause", command_id="p"), arrived("c2", queue_id="calls"))

        said = table.tell(asked("resume", command_id="r"))
        (resumed,) = [one for one in said if isinstance(one, decisions.Resumed)]
        assert resumed.over == "exceed" and resumed.unit_numbers[-1] == 12

    def test_what_was_held_when_the_capacity_was_lowered_is_kept_and_says_so(self) -> None:
        table = Table()
        table.tell(seen(units=12), arrived("c1"), arrived("c2"))

        table.tell(seen(seq=2, units=6))
        assert [one.offers[0].over for one in table.state.contacts.values()] == ["", "cut"]
        assert table.state.lowered == {"ann": 12} and "c2" in table.state.touched_contacts
        table.tell(asked("decline", contact_id="c1"), arrived("c3"))
        assert table.offers() == []

    def test_nobody_is_allotted_what_they_have_not(self) -> None:
        table = Table()
        table.tell(seen(), arrived("c1", channel="chat"))

        with pytest.raises(AssertionError, match="no room for 6 units"):
            allot(table.state.agents["ann"], demand_of(queue(), "voice"))

    def test_an_agent_with_more_in_hand_than_units_is_no_sound_state(self) -> None:
        table = Table()
        table.tell(seen(units=12), arrived("c1"), arrived("c2"))
        table.state.agents["ann"].units = 6  # as if an allotment had not looked

        with pytest.raises(AssertionError, match="ann has 6 units"):
            check(table.state)


class TestUnitsElsewhere:
    """The agent came from a pool of another shard, where a contact of theirs is not over yet."""

    def test_they_count_until_they_are_given_back(self) -> None:
        table = Table()
        table.tell(seen(units=12, elsewhere=(1, 2, 3, 4, 5, 6)), arrived("c1"), arrived("c2"))
        made = table.state.contacts["c1"].offers

        assert [one.unit_numbers for one in made] == [(7, 8, 9, 10, 11, 12)]
        assert table.state.contacts["c2"].offers == []
        table.tell(events.UnitsElsewhere(agent_id="ann", unit_numbers=()))
        assert table.offers() == [("c2", "ann")]

    def test_a_later_picture_keeps_them_and_one_of_nobody_known_is_nothing(self) -> None:
        state = State()
        step(state, seen(elsewhere=(1, 2)), 0)
        step(state, seen(seq=2, presence="break"), 1)

        assert step(state, events.UnitsElsewhere(agent_id="who", unit_numbers=(1,)), 2) == ()
        assert state.agents["ann"].elsewhere == (1, 2)
