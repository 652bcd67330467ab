"""The only place that asks the machine for the time or for randomness."""

import os
import time
from typing import Protocol


class Clock(Protocol):
    """Milliseconds since 1970, never going back while the process lives."""

    def now_ms(self) -> int: ...


class SystemClock:
    """Wall time at the start plus monotonic time since: a clock that is set back never moves us back."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    @staticmethod
    def wall_ms() -> int:
        """What the machine's clock says, for figures only."""
        return time.time_ns() // 1_000_000

    @staticmethod
    def wall_ns() -> int:
        """The same in nanoseconds."""
        return time.time_ns()

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return (time.monotonic_ns() + self._offset_ns) // 1_000_000


def span_id() -> int:
    """64 random bits, never 0: the id of a span that nobody has to know beforehand."""
    return int.from_bytes(os.urandom(8), "big") or 1


def monotonic_s() -> float:
    """Seconds on a clock that only measures distances."""
    return time.monotonic()


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): 48 bits of milliseconds, then random bits, so ids sort by age."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
