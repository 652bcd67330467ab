"""What a supervisor is told of a contact, and that asking changes nothing."""

from typing import Any

import msgspec

from common.contracts.policies import Borrow, Condition, Headroom, Need, Offers
from router.core.index.state import State
from router.core.model import decisions, events
from router.core.model.contact import Contact
from router.core.queries.explain import LOOKED_AT_MAX, explain
from router.sharding.wait_estimates import Forecasts
from tests.support.builders import arrived, asked, queue, seen
from tests.support.table import Table


def picture(state: State) -> str:
    """Everything that the state says of itself, down to the last index."""
    return repr(state)


def reasons(table: Table, contact_id: str = "c1") -> dict[str, str]:
    return dict(explain(table.state, table.state.contacts[contact_id]).agents)


class TestAskingChangesNothing:
    def test_neither_a_trace_nor_a_wait_touches_the_state(self) -> None:
        table = Table(queue(), queue("other", requirements=(("x", 1),)))
        table.tell(seen("ann", skills=(("x", 5),)), seen("bob"), arrived("c1"), asked("accept"))
        table.tell(arrived("c2"), arrived("c3", requirements=(("nobody", 1),)), arrived("c4", queue_id="other"))
        table.tell(events.QueueSet(queue=queue(version=2, offers=Offers(strikes=2))))
        before = picture(table.state)

        for contact in table.state.contacts.values():
            explain(table.state, contact)
            Forecasts().of(table.state, contact.contact_id)

        assert picture(table.state) == before

    def test_of_many_agents_a_bounded_number_is_looked_at(self) -> None:
        table = Table(queue(requirements=(("x", 1),)))
        for number in range(LOOKED_AT_MAX + 7):
            table.state.agents[f"a{number}"] = _copy_of(table, f"a{number}")
        table.tell(arrived())

        found = explain(table.state, table.state.contacts["c1"])

        assert found.reasons == {"not_looked_at": 7, "queue_need": LOOKED_AT_MAX}
        assert len(found.agents) == 200


def _copy_of(table: Table, name: str) -> Any:
    if "ann" not in table.state.agents:
        table.tell(seen("ann"))
        template = table.state.agents.pop("ann")
        table.state.agents["template"] = template
    agent = msgspec.structs.replace(next(iter(table.state.agents.values())), agent_id=name)
    table.state.profile_of[name] = table.state.profile_of["ann"]
    table.state.counted[name] = table.state.counted["ann"]
    table.state.agents.pop("template", None)
    return agent


class TestReasons:
    def test_a_need_is_written_as_in_a_policy(self) -> None:
        table = Table(queue(requirements=(("billing", 50),)))
        table.tell(arrived(need=Need(not_=Need(language="de"))))

        found = explain(table.state, table.state.contacts["c1"])

        assert found.need == {"all": ({"skill": "billing", "min_level": 50}, {"not": {"language": "de"}})}

    def test_who_passed_a_contact_on_did_not_decline_it(self) -> None:
        table = Table(queue(), queue("other"))
        table.tell(seen("ann"), seen("bob", presence="break"), arrived(), asked("accept"))

        table.tell(asked("transfer", to_queue="other"))

        assert reasons(table) == {"ann": "passed_on", "bob": "not_available"}

    def test_who_did_not_respond_did_not_decline_either(self) -> None:
        table = Table(queue(offers=Offers(first_response_ms=1_000)))
        table.tell(seen("ann"), seen("bob", presence="break"), arrived(), asked("accept"))

        table.tick(table.now_ms + 1_000)
        first = reasons(table)["ann"]
        table.tick(table.now_ms + 30_000)

        assert (first, table.offers()) == ("no_first_response", [("c1", "ann")])

    def test_a_decline_is_one(self) -> None:
        table = Table(queue(), queue("other"))
        table.tell(seen("ann"), arrived(), asked("accept"), asked("transfer", to_queue="other"))
        table.tick(table.now_ms + 5_000)

        table.tell(asked("decline", attempt=2))

        assert reasons(table) == {"ann": "declined"}

    def test_lent_agents_and_kept_free_ones_are_called_so(self) -> None:
        table = Table(
            queue("lender", requirements=(("y", 1),)),
            queue(requirements=(("x", 1),), borrow=Borrow(lender="lender", when=Condition(length_over=0))),
        )
        table.tell(seen("ann", skills=(("y", 5),)), arrived("b0", queue_id="lender"), arrived("c1"))
        lent = reasons(table)
        table = Table(queue("big"), queue(headroom=Headroom(queue="big", agents=1)))
        table.tell(seen("ann", units=12), arrived("c1"))

        assert (lent, reasons(table)) == ({"ann": "capacity"}, {"ann": "headroom"})

    def test_names_that_nobody_has_are_told(self) -> None:
        table = Table()
        table.tell(
            seen("ann"), arrived("c1", named_agent="zoe", last_agent="ann"), arrived("c2", need=Need(agent="yan"))
        )

        found = [explain(table.state, table.state.contacts[one]).unknown_agents for one in ("c1", "c2")]

        assert found == [("zoe",), ("yan",)]

    def test_an_agent_whom_a_held_contact_asks_for_by_name_is_able(self) -> None:
        table = Table(queue("other"), queue())
        table.tell(seen("ann"), arrived("c1"), asked("accept"), seen("bob"))
        contact: Contact = table.state.contacts["c1"]
        contact.need = Need(agent="bob")

        assert reasons(table)["bob"] == "next_in_turn"


class TestBesideTheOnlyAbleAgent:
    def test_a_contact_that_was_passed_on_waits_for_moments(self) -> None:
        table = Table(queue(), queue("other", requirements=(("x", 1),)))
        table.tell(seen("ann", skills=(("x", 5),)), seen("bob"), arrived(), asked("accept"))
        passed_ms = table.now_ms

        table.tell(asked("transfer", to_queue="other"))
        at_once = table.offers()
        table.tick(passed_ms + 5_000)

        assert (at_once, table.offers()) == ([], [("c1", "ann")])

    def test_beside_another_one_it_is_not_asked_for_the_whole_time(self) -> None:
        table = Table(queue(), queue("other"))
        table.tell(seen("ann"), seen("bob", presence="break"), arrived(), asked("accept"))
        passed_ms = table.now_ms

        table.tell(asked("transfer", to_queue="other"))
        table.tick(passed_ms + 29_999)
        before = table.offers()
        table.tick(passed_ms + 30_000)

        assert (before, table.offers()) == ([], [("c1", "ann")])


class TestLongestIdle:
    def test_chats_are_spread_over_who_has_less_in_hand(self) -> None:
        table = Table()
        table.tell(seen("p1"), at_ms=1_000)
        table.tell(seen("p2"), at_ms=2_000)
        table.tell(seen("p3"), at_ms=3_000)

        table.tell(*(arrived(f"c{n}", channel="chat") for n in range(9)))

        assert [agent for _, agent in table.offers()] == ["p1", "p2", "p3"] * 3

    def test_an_offer_that_was_missed_takes_no_turn_away(self) -> None:
        table = Table(queue(offers=Offers(strikes=2)))
        table.tell(seen("p1"), at_ms=1_000)
        table.tell(seen("p2"), at_ms=2_000)
        table.tell(arrived("c1"), events.CancelAsked(contact_id="c1", reason="withdrawn"))

        table.tell(arrived("c2"))

        assert [one.agent_id for one in table.said if isinstance(one, decisions.Offered)] == ["p1"]
