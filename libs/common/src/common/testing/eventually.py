"""Waiting for something that must come true, within a bound."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
LOOK_EVERY_S = 0.02


async def eventually(look: Callable[[], Awaitable[T]], *, within_s: float = 10.0, what: str = "") -> T:
    """The first true value that `look` gives. Raises `AssertionError` with the last value seen."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        seen = await look()
        if seen:
            return seen
        assert asyncio.get_running_loop().time() < deadline, f"{what or look} gave {seen!r} for {within_s} s"
        await asyncio.sleep(LOOK_EVERY_S)
