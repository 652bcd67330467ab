"""The assignment of a burst against another solver."""

import random

import pytest
from scipy.optimize import linear_sum_assignment

from router.core.bursts import assign


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
