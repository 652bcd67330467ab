"""Machines whose clocks are wrong, for `common.runtime.clock.use`."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

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


class StillMachine(Machine):
    """A machine whose monotonic clock stands still unless a test moves it."""

    now_s = 1_000.0

    def monotonic_ns(self) -> int:
        return int(self.now_s * 1e9)


AnyMachine = TypeVar("AnyMachine", bound=Machine)


@contextmanager
def used(machine: AnyMachine) -> Iterator[AnyMachine]:
    """Ours, while the block runs."""
    before = clock.use(machine)
    try:
        yield machine
    finally:
        clock.use(before)


def wrong_machine() -> AbstractContextManager[WrongMachine]:
    """One whose clocks can be put wrong, while the block runs."""
    return used(WrongMachine())
