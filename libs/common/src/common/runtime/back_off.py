"""Pauses before the next try: they grow, and differ by chance, so that an outage's end does not bring everybody back at once."""

import asyncio
from collections.abc import Callable

from common.runtime.clock import jitter, monotonic_s

DOUBLINGS_MAX = 16
LONGEST_S = 2.0
"""As long as the pauses of a loop get: what was away is noticed that much later at worst, and a try costs little."""


def pause_s(failures: int, *, first_s: float, longest_s: float, chance: Callable[[], float] = jitter) -> float:
    """Seconds to wait after so many failures in a row: doubled with each but the first, at most `longest_s`, then up to half more."""
    doublings = min(DOUBLINGS_MAX, max(0, failures - 1))
    return min(longest_s, first_s * 2.0**doublings) * (1 + chance() / 2)


class BackOff:
    """The pauses of a loop that tries again for ever.

    What went on for longer than the longest pause did some good, or has waited by itself: after it pauses begin small again.
    """

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._failures = 0
        self._paused_at_s = monotonic_s()

    async def pause(self) -> None:
        """A try failed: wait before the next one."""
        if monotonic_s() - self._paused_at_s > LONGEST_S:
            self._failures = 0
        self._failures += 1
        await asyncio.sleep(pause_s(self._failures, first_s=self._first_s, longest_s=LONGEST_S))
        self._paused_at_s = monotonic_s()
