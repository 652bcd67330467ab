"""Pauses between tries grow to a limit, differ by chance, and begin small again after a success."""

import pytest

from common.runtime import back_off
from common.runtime.back_off import LONGEST_S, BackOff, pause_s


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept for, on a clock that only sleep moves on."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(back_off.asyncio, "sleep", sleep)
    monkeypatch.setattr(back_off, "monotonic_s", lambda: sum(found))
    return found


def test_a_pause_is_doubled_with_each_failure_up_to_the_longest_and_half_of_it_more_by_chance() -> None:
    least = [pause_s(n, first_s=0.3, longest_s=5.0, chance=lambda: 0.0) for n in range(1, 9)]
    most = [pause_s(n, first_s=0.3, longest_s=5.0, chance=lambda: 1.0) for n in range(1, 9)]

    assert least == pytest.approx([0.3, 0.6, 1.2, 2.4, 4.8, 5.0, 5.0, 5.0])
    assert most == pytest.approx([pause * 1.5 for pause in least])
    assert pause_s(10**9, first_s=0.3, longest_s=5.0, chance=lambda: 0.0) == 5.0


async def test_two_loops_that_fail_together_do_not_come_back_together(slept: list[float]) -> None:
    for _ in range(20):
        await BackOff(0.3).pause()

    assert len(set(slept)) == len(slept) and all(0.3 <= pause <= 0.45 for pause in slept)


async def test_pauses_grow_while_tries_fail_and_begin_small_after_one_that_lasted(
    slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = BackOff(0.3)
    for _ in range(10):
        await pauses.pause()
    monkeypatch.setattr(back_off, "monotonic_s", lambda: sum(slept) + LONGEST_S + 0.1)
    await pauses.pause()

    assert all(LONGEST_S <= pause <= LONGEST_S * 1.5 for pause in slept[4:10])
    assert slept[10] <= 0.45
