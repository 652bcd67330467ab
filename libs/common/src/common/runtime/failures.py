"""Trouble that the world makes, and mistakes of our own. Refusals are values; what cannot be read is parked."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Retryable(Exception):
    """The world is not ready (database or broker away); the same work will be tried again."""


class InvariantBroken(AssertionError):
    """We made a mistake: stop, start again from what is committed."""


@contextmanager
def strays_as_trouble() -> Iterator[None]:
    """A cancellation that nobody asked of this task is the world's trouble. Raises `Retryable` in its place.

    Drivers cancel futures of their own when a connection ends in the middle of something, and such a cancellation can come out of
    whatever waits for them. To a task it looks like its own end: the loop would be over, and nobody would notice.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Retryable("a driver cancelled what it was asked to do") from None
