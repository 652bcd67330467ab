"""A contact takes on the policy of its queue wherever its queue, its channel or the policy changes."""

from typing import Any

import msgspec
import pytest

from common.contracts.policies import Capacity, Condition, Escalation, Need, Overflow, Step
from router.core.index.state import State
from router.core.model import decisions, events
from router.core.model.agent import Agent
from router.core.model.contact import Contact
from router.core.model.queue import Queue
from router.core.restore import restore
from tests.support.builders import arrived, asked, queue, seen
from tests.support.table import Table

DEAR = Capacity(units={"voice": 12, "callback": 12})


def made(table: Table) -> list[decisions.Offered]:
    return [one for one in table.said if isinstance(one, decisions.Offered)]


def used(table: Table, agent_id: str = "ann") -> int:
    return table.state.agents[agent_id].used_units


def again(state: State, *queues: Queue) -> Table:
    """A table whose core was rebuilt from what is kept, with the queues as the database has them meanwhile."""
    table = Table()
    table.now_ms = state.now_ms
    table.state = restore(
        queues=queues,
        agents=[msgspec.json.decode(msgspec.json.encode(one), type=Agent) for one in state.agents.values()],
        contacts=[msgspec.json.decode(msgspec.json.encode(one), type=Contact) for one in state.contacts.values()],
        ended=dict(state.ended),
        now_ms=state.now_ms,
    )
    return table


class TestUnits:
    def test_a_queue_that_says_nothing_of_units_gives_the_usual_ones_after_an_overflow(self) -> None:
        rule = Overflow(when=Condition(waited_over_ms=1_000), queue="plain")
        table = Table(queue("dear", capacity=DEAR, overflow=(rule,)), queue("plain"))
        table.tell(seen(units=6), arrived(queue_id="dear"), at_ms=0)

        table.tick(1_001)
        assert [len(one.unit_numbers) for one in made(table)] == [6] and used(table) == 6

    def test_an_overflow_into_a_dear_queue_waits_for_an_agent_with_so_many(self) -> None:
        rule = Overflow(when=Condition(waited_over_ms=1_000), queue="dear")
        table = Table(queue("plain", overflow=(rule,)), queue("dear", capacity=DEAR))
        table.tell(seen(presence="break"), arrived(queue_id="plain"), at_ms=0)
        table.tick(1_001)

        assert not made(table) and table.state.contacts["c1"].units == 12
        table.tell(seen("bob", units=12))
        assert [(one.agent_id, len(one.unit_numbers)) for one in made(table)] == [("bob", 12)]

    @pytest.mark.parametrize(("to", "units"), [("dear", 12), ("plain", 6)])
    def test_a_transfer_gives_the_units_of_the_queue_it_goes_to(self, to: str, units: int) -> None:
        table = Table(queue("plain"), queue("dear", capacity=DEAR))
        table.tell(seen(units=12), arrived(queue_id="dear" if to == "plain" else "plain"), asked("accept"))

        table.tell(asked("transfer", command_id="t", to_queue=to), seen("bob", units=12))
        assert [(one.agent_id, len(one.unit_numbers)) for one in made(table)] == [("bob", units)]

    @pytest.mark.parametrize("by", ["customer", "overflow"])
    def test_a_contact_that_becomes_a_callback_takes_what_callbacks_take(self, by: str) -> None:
        rule = Overflow(when=Condition(waited_over_ms=1_000), callback=True)
        capacity = Capacity(units={"callback": 2})
        table = Table(queue(capacity=capacity, overflow=(rule,) if by == "overflow" else ()))
        table.tell(arrived(), at_ms=0)
        table.tell(*([events.CallbackAsked(contact_id="c1")] if by == "customer" else []), events.Ticked(), at_ms=1_001)

        table.tell(seen())
        assert [len(one.unit_numbers) for one in made(table)] == [2]

    def test_a_scheduled_contact_is_queued_with_the_units_that_its_queue_asks_for_then(self) -> None:
        table = Table(queue())
        table.tell(arrived(not_before_ms=60_000), at_ms=0)
        table.tell(events.QueueSet(queue=queue(version=2, capacity=DEAR)))

        (queued,) = [one for one in table.tick(60_000) if isinstance(one, decisions.Queued)]
        assert queued.units == 12


class TestPolicyChanges:
    def test_who_waits_follows_at_once(self) -> None:
        table = Table(queue(capacity=DEAR))
        table.tell(seen(), arrived())
        assert not made(table)

        table.tell(events.QueueSet(queue=queue(version=2)))
        assert [len(one.unit_numbers) for one in made(table)] == [6]

    @pytest.mark.parametrize("verb", ["decline", "nothing"])
    def test_who_is_on_offer_follows_as_it_comes_back(self, verb: str) -> None:
        table = Table(queue(capacity=DEAR))
        table.tell(seen(units=12), arrived())
        table.tell(events.QueueSet(queue=queue(version=2)), seen("bob", units=6))

        table.tell(*([asked("decline")] if verb == "decline" else []), events.Ticked(), at_ms=21_000)
        assert [(one.agent_id, len(one.unit_numbers)) for one in made(table)] == [("bob", 6)]

    def test_who_is_with_an_agent_follows_as_the_agent_is_lost(self) -> None:
        table = Table(queue(capacity=DEAR))
        table.tell(seen(units=12), arrived(), asked("accept"))
        table.tell(events.QueueSet(queue=queue(version=2)), seen("bob", units=6))
        table.tell(seen(seq=2, presence="offline", link_lost=True), at_ms=2_000)

        table.tick(60_000)
        assert [(one.agent_id, len(one.unit_numbers)) for one in made(table)] == [("bob", 6)]

    @pytest.mark.parametrize(("before", "after"), [(12, 6), (6, 12)])
    def test_who_is_paused_is_taken_up_with_the_units_of_the_day(self, before: int, after: int) -> None:
        table = Table(queue(capacity=Capacity(units={"voice": before})), queue("mail"))
        table.tell(seen(units=12), arrived(), asked("accept"), asked("pause", command_id="p"))
        table.tell(*(arrived(f"m{n}", queue_id="mail", channel="email") for n in range(6)))
        table.tell(events.QueueSet(queue=queue(version=2, capacity=Capacity(units={"voice": after}))))

        table.tell(asked("resume", command_id="r"))
        resumed = [one for one in table.said if isinstance(one, decisions.Resumed)]
        assert [len(one.unit_numbers) for one in resumed] == ([6] if after == 6 else [])
        assert used(table) <= 12

    def test_a_new_plan_is_joined_where_it_is_new_and_kept_where_it_is_the_same(self) -> None:
        first, other = Step(need=Need(skill="es"), expires_ms=9_000), Step(need=Need(skill="fr"), expires_ms=7_000)
        table = Table(queue(steps=(first,)))
        table.tell(seen("es", skills=(("es", 9),), presence="break"), seen("fr", skills=(("fr", 9),), presence="break"))
        table.tell(arrived(), at_ms=2_000)

        table.tell(events.QueueSet(queue=queue(version=2, steps=(first, other))), at_ms=3_000)
        assert table.said == [] and table.state.contacts["c1"].step_ends_ms == 11_000
        (joined,) = table.tell(events.QueueSet(queue=queue(version=3, steps=(other,))), at_ms=4_000)
        assert isinstance(joined, decisions.StepJoined) and joined.expires_at_ms == 11_000
        assert "StepExpired" in [type(one).__name__ for one in table.tick(11_000)]

    def test_a_new_plan_for_whom_nobody_is_there_is_skipped_at_once(self) -> None:
        table = Table(queue(requirements=(("rare", 1),)))
        table.tell(seen(), arrived())
        rare = queue(version=2, steps=(Step(need=Need(skill="rare"), expires_ms=60_000),))

        table.tell(events.QueueSet(queue=rare))
        assert table.offers() == [("c1", "ann")]

    def test_a_plan_that_changed_while_the_contact_was_on_offer_counts_when_it_is_back(self) -> None:
        table = Table(queue(steps=(Step(need=Need(skill="es"), expires_ms=90_000),)))
        table.tell(seen("es", skills=(("es", 9),)), arrived())
        table.tell(events.QueueSet(queue=queue(version=2)), seen("bob"))

        table.tell(asked("decline", agent_id="es"))
        assert table.offers() == [("c1", "bob")]

    def test_an_escalation_that_is_new_rings(self) -> None:
        table = Table(queue())
        table.tell(arrived(), at_ms=0)
        table.tell(events.QueueSet(queue=queue(version=2, escalations=(Escalation(after_ms=5_000, priority=7),))))

        table.tick(5_000)
        assert table.state.contacts["c1"].priority == 7


class TestRebuild:
    """The queue's row was committed, the fact of it was not read before another router took the shard over."""

    def _waiting(self, changes: dict[str, Any], now: dict[str, Any], *told: events.Input) -> Table:
        table = Table(queue(**changes))
        table.tell(*told, arrived(), at_ms=2_000)
        later = queue(version=2, **now)
        rebuilt = again(table.state, later)
        rebuilt.tell(events.QueueSet(queue=later), at_ms=3_000)
        return rebuilt

    def test_who_waits_has_the_units_of_the_newer_queue(self) -> None:
        table = self._waiting({"capacity": DEAR}, {})

        assert table.state.contacts["c1"].units == 6 and "c1" in table.state.touched_contacts
        table.tell(seen(units=6))
        assert [len(one.unit_numbers) for one in made(table)] == [6]

    def test_who_waits_has_the_plan_of_the_newer_queue_and_it_is_said(self) -> None:
        skilled = seen("es", skills=(("es", 9),), presence="break")
        table = self._waiting({}, {"steps": (Step(need=Need(skill="es"), expires_ms=9_000),)}, skilled)

        assert [type(one).__name__ for one in table.said] == ["StepJoined"]
        table.tell(seen("bob"))
        assert table.offers() == []
        table.tick(11_000)
        assert table.offers() == [("c1", "bob")]

    @pytest.mark.parametrize("verb", ["decline", "pause"])
    def test_who_is_on_offer_or_held_follows_when_it_is_its_time(self, verb: str) -> None:
        table = Table(queue(capacity=DEAR))
        table.tell(seen(units=12), arrived(), at_ms=2_000)
        if verb == "pause":
            table.tell(asked("accept"), asked("pause", command_id="p"))
        rebuilt = again(table.state, queue(version=2))

        rebuilt.tell(seen("bob", units=6), asked("decline" if verb == "decline" else "resume", command_id="x"))
        held = [one for one in rebuilt.said if isinstance(one, (decisions.Offered, decisions.Resumed))]
        assert [len(one.unit_numbers) for one in held] == [6]

    def test_nothing_is_written_again_where_nothing_changes(self) -> None:
        table = self._waiting({}, {"wrap_up_ms": 9})

        assert table.said == [] and not table.state.touched_contacts
