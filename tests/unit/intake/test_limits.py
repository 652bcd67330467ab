"""Limits of one client: requests a second, contacts that wait."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime import clock
from intake import limits
from intake.limits import RECOUNTED_S, RequestRate, Waiting


class Machine(clock.Machine):
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic_ns(self) -> int:
        return int(self.now_s * 1e9)


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    before = clock.use(machine)
    yield machine
    clock.use(before)


def test_a_burst_is_allowed_and_then_one_at_a_time(machine: Machine) -> None:
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
    machine = Machine()
    before = clock.use(machine)
    try:
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
    finally:
        clock.use(before)


def test_keys_that_are_known_are_bounded(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEYS_MAX", 10)
    rate = RequestRate(per_s=1, burst=1)

    for number in range(100):
        rate.take(f"k{number}")

    assert len(rate._full_at_s) <= 10


class Contacts:
    """Counts how often it is asked to count."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        self.asked: Counter[str] = Counter()

    async def count_waiting(self, *, client_id: str, most: int) -> int:
        self.asked[client_id] += 1
        return min(self.waiting, most)


async def test_a_client_who_is_far_from_the_limit_is_counted_once(machine: Machine) -> None:
    contacts = Contacts(3)
    waiting = Waiting(contacts, waiting_max=100)  # type: ignore[arg-type] # all that it asks for

    for _ in range(40):
        assert not await waiting.is_full("a")
        waiting.accepted("a")
        machine.now_s += 1

    assert contacts.asked["a"] == 1


async def test_who_has_as_many_waiting_as_may_is_told_so_until_some_have_left(machine: Machine) -> None:
    contacts = Contacts(0)
    waiting = Waiting(contacts, waiting_max=10)  # type: ignore[arg-type] # all that it asks for
    for _ in range(10):
        assert not await waiting.is_full("a")
        waiting.accepted("a")

    assert await waiting.is_full("a") and not await waiting.is_full("b")
    contacts.waiting = 9
    assert await waiting.is_full("a")
    machine.now_s += RECOUNTED_S + 0.1
    assert not await waiting.is_full("a")
