"""The only place that asks the machine for the time or for randomness."""

import os
import time
from typing import Protocol


class Machine:
    """What is asked for the time and for randomness. A simulation puts another one in its place, see `use`."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970; may be set, forward and back."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds on a clock that only goes forward."""
        return time.monotonic_ns()

    def random_bytes(self, number: int) -> bytes:
        """Bytes that nobody can guess."""
        return os.urandom(number)


_machine = Machine()
_last_stamp = 0
"""Milliseconds and their fraction in the newest id of this process."""


def use(machine: Machine) -> Machine:
    """Ask `machine` from now on, in this whole process; returns the one before. For simulations only."""
    global _last_stamp, _machine
    before, _machine, _last_stamp = _machine, machine, 0
    return before


class Clock(Protocol):
    """Milliseconds since 1970, never going back while the process lives."""

    def now_ms(self) -> int: ...


CORRECTED_FROM_MS = 1_000
"""What is less off is left so: clocks of two machines always differ by a little."""
SLEWED_PART = 10
"""A correction within the allowed difference is made by going this part faster or slower: no timer jumps."""


class ClockAhead(Exception):
    """We are further ahead of the time than is allowed, and never go back: the process must begin anew."""


class SystemClock:
    """Wall time at the start plus monotonic time since: a clock that is set back never moves us back.

    `heed` corrects it when the machine's clock, or the database's, shows that it is off: a clock that was wrong at our start
    and is right now, or a machine that slept while its monotonic clock stood still.
    """

    def __init__(self) -> None:
        self._anchor_ns = _machine.monotonic_ns()
        self._then_ns = _machine.wall_ns()
        self._slew_ns = 0

    @staticmethod
    def wall_ms() -> int:
        """What the machine's clock says, for figures only."""
        return _machine.wall_ns() // 1_000_000

    @staticmethod
    def wall_ns() -> int:
        """The same in nanoseconds."""
        return _machine.wall_ns()

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._now_ns() // 1_000_000

    def heed(self, database_ms: int, *, skew_max_ms: int) -> int:
        """Correct ourselves where we are off, see `correction_ms`; returns the correction, 0 when there is none.

        Forward at once when it is more than `skew_max_ms`, else by going a little faster or slower. Raises `ClockAhead` when
        we would have to go back by more than that.
        """
        move_ms = correction_ms(self.now_ms(), self.wall_ms(), database_ms, skew_max_ms=skew_max_ms)
        if move_ms < -skew_max_ms:
            raise ClockAhead(f"this process is {-move_ms / 1000:.0f} s ahead of the time")
        now_ns = self._now_ns()
        self._anchor_ns = _machine.monotonic_ns()
        steps = move_ms > skew_max_ms
        self._then_ns = now_ns + (move_ms * 1_000_000 if steps else 0)
        self._slew_ns = 0 if steps else move_ms * 1_000_000
        return move_ms

    def _now_ns(self) -> int:
        passed_ns = _machine.monotonic_ns() - self._anchor_ns
        if not self._slew_ns:
            return self._then_ns + passed_ns
        part_ns = passed_ns // SLEWED_PART
        return self._then_ns + passed_ns + max(-part_ns, min(part_ns, self._slew_ns))


def correction_ms(now_ms: int, wall_ms: int, database_ms: int, *, skew_max_ms: int) -> int:
    """How far off `now_ms` is; 0 when it cannot be told or does not matter.

    Where the machine's clock (`wall_ms`) and the database's agree within `skew_max_ms`, the machine's is right. A machine that is
    behind its database is not believed: the database's time is what every instance shares. One that is ahead of it is not
    believed either, and we stay as we are.
    """
    if wall_ms - database_ms > skew_max_ms:
        return 0
    right_ms = database_ms if database_ms - wall_ms > skew_max_ms else wall_ms
    off_ms = right_ms - now_ms
    return off_ms if abs(off_ms) >= CORRECTED_FROM_MS else 0


STEP_FROM_S = 1.0
"""A smaller difference between two clocks may be what asking took."""


class StepWatch:
    """Sees when another clock steps against our monotonic one: it was set, or our machine slept."""

    def __init__(self) -> None:
        self._last: tuple[float, float, float] | None = None

    def look(self, asked_s: float, theirs_s: float, answered_s: float) -> float:
        """By how many seconds it has surely stepped since the last look, forward or back; 0 when it need not have.

        `theirs_s` was read between `asked_s` and `answered_s` of `monotonic_s`.
        """
        before, self._last = self._last, (asked_s, theirs_s, answered_s)
        if before is None:
            return 0.0
        passed = theirs_s - before[1]
        least, most = passed - (answered_s - before[0]), passed - (asked_s - before[2])
        if least > STEP_FROM_S:
            return least
        return most if most < -STEP_FROM_S else 0.0


def span_id() -> int:
    """64 random bits, never 0: the id of a span that nobody has to know beforehand."""
    return int.from_bytes(_machine.random_bytes(8), "big") or 1


def jitter() -> float:
    """A number from 0 up to 1, so that what waits equally long does not come back at the same moment."""
    return int.from_bytes(_machine.random_bytes(4), "big") / 2**32


def monotonic_s() -> float:
    """Seconds on a clock that only measures distances."""
    return _machine.monotonic_ns() / 1e9


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): 48 bits of milliseconds, 12 bits of their fraction, then random bits.

    Ids of one process rise strictly, also when the machine's clock is set back: then by the smallest step until it has caught up.
    """
    global _last_stamp
    milliseconds, rest_ns = divmod(_machine.wall_ns(), 1_000_000)
    stamp = milliseconds << 12 | (rest_ns << 12) // 1_000_000
    stamp = _last_stamp = max(stamp, _last_stamp + 1)
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | int.from_bytes(_machine.random_bytes(8), "big")
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def made_at_ms(identifier: str) -> int | None:
    """When an id of `new_id` was made, by its maker's wall clock; None when it is not such an id."""
    if len(identifier) != 36 or identifier[14] != "7":
        return None
    try:
        return int(identifier[:8] + identifier[9:13], 16)
    except ValueError:
        return None
