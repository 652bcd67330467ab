"""A contact that changes queue, and callbacks: what was promised is kept."""

from typing import Any

import pytest

from common.contracts.policies import Capacity, Condition, Need, Overflow
from router.core.model import decisions, events
from router.core.model.queue import Queue
from tests.support.builders import arrived, asked, queue, seen
from tests.support.table import Table

LATER_MS = 60_000
TURNED_AWAY = [
    queue("r", length_max=1),
    queue("r", overflow=(Overflow(when=Condition(closed=True), message="shut"),)),
    queue("r", overflow=(Overflow(when=Condition(all_busy=True), message="busy"),)),
    queue("r", overflow=(Overflow(when=Condition(length_over=0), message="long"),)),
    queue("r", overflow=(Overflow(when=Condition(longest_wait_over_ms=1), message="slow"),)),
    queue("r", overflow=(Overflow(when=Condition(waited_over_ms=1_000), message="slow"),)),
    queue("r", overflow=(Overflow(when=Condition(unstaffed=True), message="nobody"),)),
    queue("r", ttl_ms=2_000),
]
NAMES = ["full", "closed", "busy", "long", "slow", "waited", "unstaffed", "ttl"]


def only(kind: type[Any], said: list[Any]) -> list[Any]:
    return [one for one in said if isinstance(one, kind)]


def turned_away(said: list[Any]) -> list[str]:
    return [type(one).__name__ for one in said if isinstance(one, (decisions.Overflowed, decisions.Expired))]


def closed_and_full(policy: Queue) -> Table:
    """The queue r, in which somebody waits already, with hours that are over; nobody serves it."""
    table = Table(queue("q"), policy)
    table.tell(seen("ann", pool="p"), arrived("first", queue_id="r", need=Need(skill="rare")))
    table.tell(events.QueueOpened(queue_id="r", is_open=False))
    return table


class TestNobodyIsANewcomerTwice:
    @pytest.mark.parametrize("policy", TURNED_AWAY, ids=NAMES)
    def test_a_conversation_that_is_passed_on_waits(self, policy: Queue) -> None:
        table = closed_and_full(policy)
        table.tell(arrived("c1", queue_id="q"), asked("accept"))

        said = table.tell(asked("transfer", to_queue="r", need=Need(skill="rare")))
        said += table.tick(table.now_ms + 1_001) + table.tick(table.now_ms + 20_000)

        assert [one for one in said if getattr(one, "contact_id", "") == "c1" and turned_away([one])] == []
        assert table.state.contacts["c1"].state == "queued"

    @pytest.mark.parametrize("policy", TURNED_AWAY, ids=NAMES)
    def test_a_conversation_whose_agent_is_lost_waits(self, policy: Queue) -> None:
        table = Table(policy)
        table.tell(
            seen("ann"), arrived("c1", queue_id="r"), asked("accept"), events.QueueOpened(queue_id="r", is_open=False)
        )

        said = table.tell(seen("ann", seq=2, presence="offline", link_lost=True))
        said += table.tick(table.now_ms + 15_000) + table.tick(table.now_ms + 20_000)

        assert turned_away(said) == []
        assert table.state.contacts["c1"].state == "queued"

    @pytest.mark.parametrize("policy", TURNED_AWAY, ids=NAMES)
    def test_a_callback_that_is_due_waits(self, policy: Queue) -> None:
        table = Table(queue("q"), policy)
        table.tell(arrived("c1", queue_id="r", need=Need(skill="rare")))
        if "c1" not in table.state.contacts:
            return  # it was turned away when it came, and nothing was promised
        table.tell(events.CallbackAsked(contact_id="c1", not_before_ms=table.now_ms + LATER_MS))
        table.tell(arrived("other", queue_id="r", need=Need(skill="rare")))
        table.tell(events.QueueOpened(queue_id="r", is_open=False))

        said = table.tick(table.now_ms + LATER_MS)
        said += table.tick(table.now_ms + 1_001) + table.tick(table.now_ms + 20_000)

        mine = [one for one in said if getattr(one, "contact_id", "") == "c1"]
        assert turned_away(mine) == []
        assert len(only(decisions.Queued, mine)) == 1

    def test_it_still_moves_on_when_it_waits_too_long(self) -> None:
        table = Table(
            queue("q"), queue("r", overflow=(Overflow(when=Condition(waited_over_ms=1_000), queue="s"),)), queue("s")
        )
        table.tell(seen("ann"), arrived("c1", queue_id="q"), asked("accept"), asked("transfer", to_queue="r"))

        table.tick(table.now_ms + 1_001)

        assert [one.queue_id for one in only(decisions.Moved, table.said)] == ["s"]

    def test_a_scheduled_contact_lives_from_when_it_is_due(self) -> None:
        table = Table(queue("r", ttl_ms=2_000))
        table.tell(arrived("c1", queue_id="r", accepted_at_ms=table.now_ms, not_before_ms=table.now_ms + LATER_MS))
        due_ms = table.now_ms + LATER_MS

        early = table.tick(due_ms) + table.tick(due_ms + 1_999)
        late = table.tick(due_ms + 2_000)

        assert (turned_away(early), turned_away(late)) == ([], ["Expired"])


class TestCallbacks:
    def test_one_that_is_asked_for_while_it_rings_takes_the_offer_back(self) -> None:
        table = Table()
        table.tell(seen("ann"), arrived("c1"))

        table.tell(events.CallbackAsked(contact_id="c1", not_before_ms=table.now_ms + LATER_MS, requested_at_ms=5))
        said = table.kinds()
        table.tick(table.now_ms + LATER_MS)

        assert said == ["Rescinded", "CallbackArranged"]
        assert [(one.agent_id, one.channel) for one in only(decisions.Offered, table.said)] == [("ann", "callback")]

    def test_without_a_time_it_is_offered_anew_as_a_callback(self) -> None:
        table = Table()
        table.tell(seen("ann"), arrived("c1"))

        table.tell(events.CallbackAsked(contact_id="c1"))

        assert table.kinds() == ["Rescinded", "CallbackArranged", "Offered"]
        assert table.said[-1].channel == "callback"

    @pytest.mark.parametrize("moved_ms", [3_000, LATER_MS * 60])
    def test_the_last_wish_counts(self, moved_ms: int) -> None:
        table = Table()
        table.tell(arrived("c1"))
        start_ms = table.now_ms
        table.tell(events.CallbackAsked(contact_id="c1", not_before_ms=start_ms + 8_000, requested_at_ms=1))

        table.tell(events.CallbackAsked(contact_id="c1", not_before_ms=start_ms + moved_ms, requested_at_ms=2))
        arranged = [(one.due_ms, one.requested_at_ms) for one in only(decisions.CallbackArranged, table.said)]
        table.tell(
            events.CallbackAsked(contact_id="c1", not_before_ms=start_ms + 8_000, requested_at_ms=1)
        )  # comes twice
        repeated = list(table.said)
        early = [one for at in (8_000, moved_ms - 1) if at < moved_ms for one in table.tick(start_ms + at)]
        late = table.tick(start_ms + moved_ms)

        assert arranged == [(start_ms + moved_ms, 2)]
        assert (repeated, only(decisions.Queued, early), len(only(decisions.Queued, late))) == ([], [], 1)

    def test_one_that_waits_as_a_callback_can_be_moved_too(self) -> None:
        table = Table()
        table.tell(arrived("c1"), events.CallbackAsked(contact_id="c1", requested_at_ms=1))

        table.tell(events.CallbackAsked(contact_id="c1", not_before_ms=table.now_ms + LATER_MS, requested_at_ms=2))

        assert table.state.contacts["c1"].state == "scheduled"

    def test_one_that_is_kept_for_later_can_be_wanted_now(self) -> None:
        table = Table()
        table.tell(arrived("c1", channel="email", not_before_ms=table.now_ms + LATER_MS))

        table.tell(events.CallbackAsked(contact_id="c1"))

        assert table.kinds() == ["CallbackArranged", "Queued"]
        assert (table.said[-1].channel, table.said[-1].routing_age_at_ms) == ("callback", table.now_ms)

    def test_who_talks_to_an_agent_is_not_called_back_unless_the_wish_comes_again_later(self) -> None:
        table = Table()
        wish = events.CallbackAsked(contact_id="c1", not_before_ms=table.now_ms + LATER_MS, requested_at_ms=1)
        table.tell(seen("ann"), arrived("c1"), asked("accept"))

        with_agent = list(table.tell(wish))
        table.tell(asked("transfer", need=Need(skill="rare")))
        table.tell(wish)

        assert with_agent == []
        assert table.kinds() == ["CallbackArranged"]


class TestWhoCannotTakeIt:
    @pytest.mark.parametrize(
        ("target", "reason", "detail"),
        [
            ({"to_agent": "zoe"}, "unknown_agent", ""),
            ({"to_agent": "far"}, "unknown_agent", ""),
            ({"to_agent": "gone"}, "unknown_agent", "agent_not_signed_in"),
            ({"to_agent": "bob", "to_queue": "skilled"}, "unknown_agent", "agent_not_able"),
            ({"to_agent": "bob", "need": Need(skill="x")}, "unknown_agent", "agent_not_able"),
            ({"to_agent": "small"}, "unknown_agent", "agent_not_able"),
            ({"to_agent": "mute"}, "unknown_agent", "agent_not_able"),
            ({"to_queue": "elsewhere"}, "unknown_queue", ""),
            ({"to_queue": "skilled", "need": Need(skill="x", max_level=3)}, "unknown_queue", "nobody_able"),
        ],
    )
    def test_a_transfer_to_them_is_refused_with_the_reason(
        self, target: dict[str, Any], reason: str, detail: str
    ) -> None:
        table = self._held()

        table.tell(asked("transfer", **target))

        assert [(one.reason, one.detail) for one in only(decisions.Refused, table.said)] == [(reason, detail)]
        assert table.state.contacts["c1"].agent_id == "ann"

    @pytest.mark.parametrize(
        "target",
        [
            {"to_agent": "bob"},
            {"to_agent": "rest"},
            {"to_agent": "able", "to_queue": "skilled"},
            {"to_agent": "small", "to_queue": "light"},
            {"to_queue": "skilled"},
        ],
    )
    def test_a_transfer_to_who_could_is_not(self, target: dict[str, Any]) -> None:
        table = self._held()

        table.tell(asked("transfer", **target))

        assert only(decisions.Refused, table.said) == []

    def _held(self) -> Table:
        table = Table(
            queue(),
            queue("skilled", requirements=(("x", 5),)),
            queue("light", capacity=Capacity(units={"voice": 1})),
            queue("elsewhere", pool="other"),
        )
        table.tell(seen("ann"), arrived("c1"), asked("accept"), seen("bob"), seen("far", pool="other"))
        table.tell(seen("gone", presence="offline"), seen("able", skills=(("x", 9),)), seen("small", units=2))
        table.tell(seen("mute", channel_max=(("voice", 0),)), seen("rest", presence="break"))
        return table
