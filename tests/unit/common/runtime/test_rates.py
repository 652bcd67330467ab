"""Requests a second of one caller."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime import rates
from common.runtime.rates import RequestRate
from tests.support.machines import StillMachine, used


def test_a_burst_is_allowed_and_then_one_at_a_time(machine: StillMachine) -> None:
    rate = RequestRate(per_s=10, burst=5)

    taken = [rate.take("k") for _ in range(6)]
    assert [budget.left for budget in taken] == [4, 3, 2, 1, 0, 0]
    assert [budget.wait_s > 0 for budget in taken] == [False] * 5 + [True]
    assert rate.take("another").left == 4

    machine.now_s += taken[-1].wait_s + 1e-6
    assert rate.take("k").wait_s == 0 and rate.take("k").wait_s > 0
    machine.now_s += 60
    assert rate.take("k").left == 4
    assert rate.policy == '"requests";q=5;w=1'


@given(gaps=st.lists(st.floats(0, 0.5), min_size=1, max_size=200), per_s=st.integers(1, 50), burst=st.integers(1, 20))
def test_no_second_ever_has_more_than_the_rate_and_the_burst(gaps: list[float], per_s: int, burst: int) -> None:
    with used(StillMachine()) as machine:
        rate = RequestRate(per_s=per_s, burst=burst)
        allowed = []
        for gap in gaps:
            machine.now_s += gap
            budget = rate.take("k")
            if budget.wait_s == 0:
                allowed.append(machine.now_s)
            assert 0 <= budget.left < burst
        for start in allowed:
            assert sum(start <= at < start + 1 for at in allowed) <= per_s + burst


def test_keys_that_are_known_are_bounded(machine: StillMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "KEYS_MAX", 10)
    rate = RequestRate(per_s=1, burst=1)

    for number in range(100):
        rate.take(f"k{number}")

    assert len(rate._full_at_s) <= 10
