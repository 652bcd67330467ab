"""The time of a process: never back, corrected when it is off, and ids that rise."""

import itertools
from collections.abc import Iterator

import pytest

from common.runtime import clock as machine_clock
from common.runtime.clock import ClockAhead, Machine, StepWatch, SystemClock, correction_ms, new_id

MINUTE = 60_000
NOON = 1_795_608_000_000


class SetMachine(Machine):
    """A machine whose two clocks stand where the test puts them, in milliseconds."""

    wall = NOON
    monotonic = 0

    def wall_ns(self) -> int:
        return self.wall * 1_000_000

    def monotonic_ns(self) -> int:
        return self.monotonic * 1_000_000

    def run(self, ms: int) -> None:
        self.wall += ms
        self.monotonic += ms


@pytest.fixture
def machine() -> Iterator[SetMachine]:
    own = SetMachine()
    before = machine_clock.use(own)
    yield own
    machine_clock.use(before)


def test_a_machine_that_slept_takes_us_forward_at_once(machine: SetMachine) -> None:
    clock = SystemClock()
    machine.wall += 10 * MINUTE  # the monotonic clock stood still

    assert clock.heed(machine.wall, skew_max_ms=MINUTE) == 10 * MINUTE
    assert clock.now_ms() == NOON + 10 * MINUTE
    machine.run(1_000)
    assert clock.now_ms() == NOON + 10 * MINUTE + 1_000


def test_half_a_minute_ahead_is_made_up_for_by_going_slower_and_never_back(machine: SetMachine) -> None:
    clock = SystemClock()
    machine.wall -= MINUTE // 2
    seen = [clock.now_ms()]
    for _ in range(80):  # looked at every five seconds, as a service does
        clock.heed(machine.wall, skew_max_ms=MINUTE)
        machine.run(5_000)
        seen.append(clock.now_ms())

    steps = [after - before for before, after in itertools.pairwise(seen)]
    assert min(steps) == 4_500, "a tenth slower, never back"
    assert max(steps) <= 5_000
    assert abs(seen[-1] - machine.wall) < 1_000


def test_half_a_minute_behind_is_made_up_for_by_going_faster(machine: SetMachine) -> None:
    clock = SystemClock()
    machine.wall += MINUTE // 2
    clock.heed(machine.wall, skew_max_ms=MINUTE)
    machine.run(100_000)
    assert clock.now_ms() == NOON + 110_000, "a tenth faster"
    machine.run(400_000)
    assert clock.now_ms() == machine.wall


def test_ten_minutes_ahead_of_the_time_needs_a_new_beginning(machine: SetMachine) -> None:
    clock = SystemClock()
    machine.wall -= 10 * MINUTE
    with pytest.raises(ClockAhead, match="600 s ahead"):
        clock.heed(machine.wall, skew_max_ms=MINUTE)
    assert clock.now_ms() == NOON


@pytest.mark.parametrize(
    ("now", "wall", "database", "moves"),
    [
        (0, 0, 0, 0),
        (0, 999, 0, 0),
        (0, 1_000, 0, 1_000),
        (-10, 0, 0, 0),
        (-30_000, 0, 10_000, 30_000),
        (0, 0, 600_000, 600_000),  # the database is ahead of our machine: it is followed
        (600_000, 0, 600_000, 0),  # and was
        (600_000, 0, 0, -600_000),  # until it is set back
        (0, 600_000, 0, 0),  # our machine is ahead of the database: it is not believed
        (600_000, 600_000, 0, 0),  # nor do we go back for it
    ],
)
def test_what_is_right(now: int, wall: int, database: int, moves: int) -> None:
    assert correction_ms(now, wall, database, skew_max_ms=MINUTE) == moves


def test_ids_rise_although_the_clock_is_set_back(machine: SetMachine) -> None:
    ids = [new_id()]
    machine.wall -= 10 * MINUTE
    for _ in range(10_000):
        ids.append(new_id())
    machine.wall += 20 * MINUTE
    ids.append(new_id())

    assert ids == sorted(set(ids))
    assert all(one[14] == "7" and one[19] in "89ab" and len(one) == 36 for one in ids)
    milliseconds = int(ids[-1].replace("-", "")[:12], 16)
    assert milliseconds == machine.wall, "an id says when it was made"


@pytest.mark.parametrize(
    ("asked", "theirs", "answered", "stepped"),
    [
        (10.0, 110.0, 10.1, 0.0),
        (10.0, 112.0, 10.1, pytest.approx(1.9)),
        (10.0, 710.0, 10.1, pytest.approx(599.9)),
        (10.0, -490.0, 10.1, pytest.approx(-599.9)),
        (10.0, 117.0, 20.0, 0.0),  # the answer took ten seconds: it may have been read at any of them
        (10.0, 110.9, 10.1, 0.0),
        (10.0, 109.2, 10.1, 0.0),
    ],
)
def test_a_step_of_another_clock_is_seen_where_it_is_sure(
    asked: float, theirs: float, answered: float, stepped: float
) -> None:
    watch = StepWatch()
    assert watch.look(0.0, 100.0, 0.1) == 0.0
    assert watch.look(asked, theirs, answered) == stepped
    assert watch.look(asked + 1, theirs + 1, answered + 1) == 0.0, "it is told once"
