"""Machines whose clocks are wrong, for `common.runtime.clock.use`."""

from collections.abc import Iterator
from contextlib import contextmanager

from common.runtime import clock
from common.runtime.clock import Machine


class WrongMachine(Machine):
    """A machine whose clock can be put wrong and right again; its monotonic clock stands still while it sleeps."""

    ahead_s = 0.0
    slept_s = 0.0

    def wall_ns(self) -> int:
        return super().wall_ns() + round(self.ahead_s * 1e9)

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() - round(self.slept_s * 1e9)


@contextmanager
def wrong_machine() -> Iterator[WrongMachine]:
    """Ours, while the block runs."""
    wrong = WrongMachine()
    before = clock.use(wrong)
    try:
        yield wrong
    finally:
        clock.use(before)
