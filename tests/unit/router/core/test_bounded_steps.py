"""What one step does is bounded by what it moves, however many contacts and agents match at once."""

import time
from random import Random

from common.contracts.policies import Borrow, Condition, Overflow
from router.core import State, step
from router.core.index.waiting import longest_wait_ms
from router.core.model import decisions, events
from tests.support.builders import arrived, queue, seen
from tests.support.table import Table


def borrowing(contacts: int) -> tuple[int, float]:
    """Offers, and CPU time, of the step in which a queue begins to borrow for all its contacts at once."""
    state = State()
    when = Condition(longest_wait_over_ms=1_000)
    step(state, events.QueueSet(queue=queue("lender", requirements=(("y", 0),))), 0)
    step(
        state,
        events.QueueSet(queue=queue("poor", requirements=(("x", 0),), borrow=Borrow(lender="lender", when=when))),
        0,
    )
    for number in range(contacts + 20):
        step(state, seen(f"a{number:05d}", skills=(("y", 50),)), 0)
    for number in range(contacts):
        step(state, arrived(f"c{number:05d}", queue_id="poor"), 0)
    started = time.process_time()
    decided = step(state, arrived("last", queue_id="poor"), 5_000)
    return sum(isinstance(one, decisions.Offered) for one in decided), time.process_time() - started


def test_more_than_a_thousand_contacts_match_in_one_step() -> None:
    offers, _ = borrowing(1_100)

    assert offers == 1_100  # the last one came just now: the queue borrows no longer when only it waits


def test_the_work_of_a_step_grows_with_its_matches() -> None:
    few, many = min(borrowing(300)[1] for _ in range(3)), min(borrowing(2_400)[1] for _ in range(3))

    assert many < 24 * few, "eight times the matches took the square of it"


def test_contacts_that_would_overflow_to_and_fro_stay_where_they_are_in_the_end() -> None:
    there = queue("there", overflow=(Overflow(when=Condition(unstaffed=True), queue="back"),))
    back = queue("back", overflow=(Overflow(when=Condition(unstaffed=True), queue="there"),))
    table = Table(there, back)

    for number in range(100):
        table.tell(arrived(f"c{number:03d}", queue_id="there"))
        assert sum(isinstance(one, decisions.Moved) for one in table.said) <= 16

    assert len(table.state.place_of) == 100


def test_the_longest_wait_is_that_of_the_contact_that_came_first_of_those_who_wait() -> None:
    source = Random(5)  # the same every time
    guard = Condition(longest_wait_over_ms=50)
    table = Table(queue("other"), queue(overflow=(Overflow(when=guard, message="full"),)))
    for number in range(400):
        at_ms = table.now_ms + source.randrange(9)
        live = sorted(table.state.place_of)
        if live and source.random() < 0.5:
            table.tell(events.CancelAsked(contact_id=source.choice(live), reason="withdrawn"), at_ms=at_ms)
        else:
            table.tell(arrived(f"c{number}", queue_id=source.choice(["other", "billing"])), at_ms=at_ms)
        waiting = [one.queued_at_ms for one in table.state.contacts.values() if one.queue_id == "billing"]
        assert longest_wait_ms(table.state, "billing") == at_ms - min(waiting, default=at_ms)
        if number == 200:  # nobody asks for it any more, and then somebody does again
            table.tell(events.QueueSet(queue=queue(version=2)))
            table.tell(events.QueueSet(queue=queue(version=3, overflow=(Overflow(when=guard, message="full"),))))
