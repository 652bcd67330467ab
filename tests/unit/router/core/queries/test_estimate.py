"""What estimates count, and what they learn."""

import sys
from random import Random
from typing import Any

import pytest

from common.contracts.policies import Condition, Home, Need, Overflow
from router.core import State, step
from router.core.index.crews import capacity_of
from router.core.index.state import Lesson
from router.core.model import decisions
from router.core.queries.estimate import estimate, foresee
from router.core.rules.capacity import demand_of
from tests.support.builders import arrived, asked, queue, seen
from tests.support.table import Table


def only(kind: type[Any], said: list[Any]) -> list[Any]:
    return [one for one in said if isinstance(one, kind)]


def told(table: Table, name: str) -> Any:
    return estimate(table.state, table.state.contacts[name])


class TestCapacity:
    def test_an_agent_with_room_for_three_chats_ends_waits_three_times_as_soon(self) -> None:
        waits = {}
        for channel, held in (("voice", 1), ("chat", 3)):
            table = Table(queue(home=Home(expected_handle_ms=60_000)))
            table.tell(seen(), *(arrived(f"c{n}", channel=channel) for n in range(held + 1)))
            waits[channel] = told(table, f"c{held}").p50_ms
        assert waits["voice"] == pytest.approx(3 * waits["chat"], rel=0.01)

    def test_agents_on_a_break_do_not_count_while_others_are_ready(self) -> None:
        table = Table()
        table.tell(seen("ann"), seen("bob", presence="break"), arrived("c1"), arrived("c2"))
        assert told(table, "c2").agents == 1

    def test_channel_limits_count(self) -> None:
        table = Table()
        table.tell(seen(channel_max=(("chat", 1),)), arrived("c1", channel="chat"), arrived("c2", channel="chat"))
        demand = demand_of(table.state.queues["billing"], "chat")
        assert capacity_of(table.state, table.state.staffed, demand) == (1, 1)

    def test_nobody_signed_in_has_a_place_and_no_time(self) -> None:
        table = Table()
        table.tell(*(arrived(f"c{n:02d}", accepted_at_ms=n) for n in range(20)), at_ms=20)
        found = told(table, "c19")
        assert (found.position, found.p50_ms, found.p90_ms, found.reason) == (20, None, None, "unstaffed")

    def test_units_that_nobody_has_are_a_reason(self) -> None:
        table = Table()
        table.tell(seen(units=2), arrived("c1"))
        assert told(table, "c1").reason == "no_capacity"

    def test_any_history_of_agents_is_counted_as_by_hand(self) -> None:
        draw, table = Random(5), Table()
        table.tell(arrived("c1", channel="email"))
        for seq in range(1, 301):
            presence = draw.choice(["available", "available", "break", "offline"])
            skills = (("es", draw.choice([1, 2])),) if draw.random() < 0.5 else ()
            about = {"units": draw.choice([2, 6, 7]), "skills": skills, "presence": presence}
            table.tell(seen(f"a{draw.randrange(12)}", seq=seq, **about))
            if draw.random() < 0.3:
                table.tell(arrived(f"x{seq}", need=Need(agent=f"a{draw.randrange(12)}")))
            ready = [one for one in table.state.agents.values() if one.routing_state == "ready"]
            demand = demand_of(table.state.queues["billing"], "chat")
            if ready:
                assert capacity_of(table.state, -1, demand) == (len(ready), sum(one.units // 2 for one in ready))


class TestShares:
    def test_who_competes_for_half_of_the_agents_counts_half(self) -> None:
        table = Table(queue(home=Home(expected_handle_ms=60_000)))
        table.tell(seen("a1", skills=(("es", 1),)), seen("a2"), arrived("h1"), arrived("h2"))
        table.tell(*(arrived(f"x{n}") for n in range(4)), at_ms=1)
        table.tell(arrived("c1", need=Need(skill="es"), accepted_at_ms=2), at_ms=2)
        alone, shared = 60_000, told(table, "c1")
        assert shared.position == 5
        # four before it, of whom half will go to its own agent, and its own turn: Gamma(3) has its median at 2.674
        assert shared.p50_ms == pytest.approx(2.674 * alone, rel=0.01)

    def test_a_lower_priority_is_not_before(self) -> None:
        table = Table()
        table.tell(seen(), arrived("c0"), *(arrived(f"x{n:03d}", priority=0) for n in range(100)))
        table.tell(arrived("c1", priority=5))
        assert told(table, "c1").position == 1
        assert told(table, "x099").position == 101


class TestLessons:
    def play(self, *, really_ms: int, rounds: int = 400) -> Table:
        """Contacts of whom one is always waiting, answered after a time that the model does not expect."""
        table, now_ms = Table(queue(home=Home(expected_handle_ms=60_000))), 0
        table.tell(seen(), arrived("c0"), asked("accept", contact_id="c0", command_id="a0"), at_ms=0)
        for number in range(1, rounds):
            table.tell(arrived(f"c{number}", accepted_at_ms=now_ms), at_ms=now_ms)
            now_ms += really_ms
            before = f"c{number - 1}"
            table.tell(asked("complete", contact_id=before, command_id=f"b{number}"), at_ms=now_ms)
            table.tell(asked("accept", contact_id=f"c{number}", command_id=f"a{number}"), at_ms=now_ms)
        return table

    def test_the_median_comes_to_what_is_true(self) -> None:
        table = self.play(really_ms=20_000)
        table.tell(arrived("next"), at_ms=table.now_ms)
        assert told(table, "next").p50_ms == pytest.approx(20_000, rel=0.15)

    def test_what_is_kept_to_learn_from_is_bounded(self) -> None:
        table = Table()
        table.tell(seen(), arrived("c0"))
        for number in range(2_100):
            table.tell(arrived(f"x{number}", accepted_at_ms=number * 200), at_ms=number * 200)
        assert len(table.state.told) == 2_000

    def test_whoever_finds_an_agent_free_teaches_nothing(self) -> None:
        table = Table()
        table.tell(seen(), seen("bob"), arrived("c0"), arrived("c1"), arrived("c2"))
        assert set(table.state.told) <= {"c2"}

    def test_a_lesson_of_the_channel_serves_a_new_queue(self) -> None:
        table = Table(queue(), queue("other"))
        table.tell(seen(), arrived("c0"), arrived("c1", queue_id="other"))
        before = told(table, "c1").p50_ms
        table.state.lessons["", "voice"] = Lesson(count=50, shift=1.0)
        assert told(table, "c1").p50_ms == pytest.approx(2.718 * before, rel=0.01)


class TestRules:
    RULE = Overflow(when=Condition(estimated_wait_over_ms=600_000), message="later")

    def test_when_agents_leave_the_newest_overflow_within_a_second(self) -> None:
        table = Table(queue(overflow=(self.RULE,), home=Home(expected_handle_ms=60_000)))
        table.tell(*(seen(f"a{n}") for n in range(4)), at_ms=0)
        table.tell(*(arrived(f"c{n:02d}", accepted_at_ms=n) for n in range(30)), at_ms=30)
        assert only(decisions.Overflowed, table.said) == []
        table.tell(*(seen(f"a{n}", seq=2, presence="break") for n in range(3)), at_ms=5_000)
        gone = [one.contact_id for one in only(decisions.Overflowed, [*table.said, *table.tick(6_100)])]
        assert gone == sorted(gone, reverse=True) and gone[0] == "c29"
        left = max(name for name in table.state.place_of)
        assert (told(table, left).p50_ms or 0) <= 600_000 < (told(table, left).p50_ms or 0) * 1.15

    def test_an_arrival_costs_no_more_with_many_waiting(self) -> None:
        def looked_at(waiting: int) -> int:
            never = Overflow(when=Condition(estimated_wait_over_ms=10**9), message="later")
            table = Table(queue(overflow=(never,)))
            table.tell(seen(), *(arrived(f"c{n:05d}", accepted_at_ms=n) for n in range(waiting)), at_ms=waiting)
            with CountedCalls() as calls:
                step(table.state, arrived("last", accepted_at_ms=waiting), waiting)
            return calls[0]

        assert looked_at(1_500) <= looked_at(100) + 50


class CountedCalls:
    """Counts calls of Python functions while the block runs: the same on every machine, unlike time."""

    def __enter__(self) -> list[int]:
        self.calls = [0]

        def count(_frame: Any, event: str, _arg: Any) -> None:
            if event == "call":
                self.calls[0] += 1

        sys.setprofile(count)
        return self.calls

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


def test_the_note_of_an_arrival_changes_no_decision() -> None:
    table = Table()
    table.tell(seen(), arrived("c0"), arrived("c1"))
    state: State = table.state
    before = set(state.place_of)
    foresee(state, state.contacts["c1"], state.queues["billing"])
    assert set(state.place_of) == before
