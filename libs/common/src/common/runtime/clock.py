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


def use(machine: Machine) -> Machine:
    """Ask `machine` from now on, in this whole process; returns the one before. For simulations only."""
    global _machine
    before, _machine = _machine, machine
    return before


class Clock(Protocol):
    """Milliseconds since 1970, never going back while the process lives."""

    def now_ms(self) -> int: ...


class SystemClock:
    """Wall time at the start plus monotonic time since: a clock that is set back never moves us back."""

    def __init__(self) -> None:
        self._offset_ns = _machine.wall_ns() - _machine.monotonic_ns()

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
        return (_machine.monotonic_ns() + self._offset_ns) // 1_000_000


def span_id() -> int:
    """64 random bits, never 0: the id of a span that nobody has to know beforehand."""
    return int.from_bytes(_machine.random_bytes(8), "big") or 1


def monotonic_s() -> float:
    """Seconds on a clock that only measures distances."""
    return _machine.monotonic_ns() / 1e9


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): 48 bits of milliseconds, then random bits, so ids sort by age."""
    value = _machine.wall_ns() // 1_000_000 << 80 | int.from_bytes(_machine.random_bytes(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
