"""The assignment of a burst against another solver."""

import random

import pytest
from scipy.optimize import linear_sum_assignment

from common.contracts.policies import Headroom, MicroBatch
from router.core.matching.bursts import assign
from tests.support.builders import arrived, queue, seen
from tests.support.table import Table


@pytest.mark.parametrize("seed", range(30))
def test_the_assignment_costs_as_little_as_any(seed: int) -> None:
    source = random.Random(seed)
    rows = source.randint(1, 25)
    columns = source.randint(rows, 40)
    costs = [[source.choice([0, 0, 5, source.randint(0, 10**14)]) for _ in range(columns)] for _ in range(rows)]

    found = assign(costs)

    assert len(set(found)) == rows
    best_rows, best_columns = linear_sum_assignment(costs)
    assert sum(costs[row][column] for row, column in enumerate(found)) == sum(
        costs[row][column] for row, column in zip(best_rows, best_columns, strict=True)
    )


@pytest.mark.parametrize(("kept", "offered"), [(0, ["c1", "c2", "c3"]), (1, ["c1", "c2"]), (2, ["c1"])])
def test_a_burst_leaves_headroom_as_contacts_do_that_come_one_by_one(kept: int, offered: list[str]) -> None:
    headroom = None if kept == 0 else Headroom(queue="assist", agents=kept)
    table = Table(queue("assist"), queue(micro_batch=MicroBatch(window_ms=100, burst=1), headroom=headroom))
    table.tell(*(seen(name) for name in ("ann", "bob", "eve")))
    table.tell(*(arrived(name) for name in ("c1", "c2", "c3")))

    table.tick(1_100)

    assert sorted(contact for contact, _ in table.offers()) == offered


def test_a_burst_goes_to_agents_for_whom_no_headroom_is_kept() -> None:
    batch, headroom = MicroBatch(window_ms=100, burst=1), Headroom(queue="assist", agents=1)
    table = Table(queue("assist", requirements=(("tax", 1),)), queue(micro_batch=batch, headroom=headroom))
    table.tell(seen("ann", skills=(("tax", 50),)), at_ms=0)
    table.tell(seen("bob"), seen("eve"), at_ms=500)
    table.tell(arrived("c1"), arrived("c2"), at_ms=1_000)

    table.tick(1_100)

    assert sorted(agent for _, agent in table.offers()) == ["bob", "eve"]
