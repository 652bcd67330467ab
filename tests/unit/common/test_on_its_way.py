"""A fact that is on its way is waited for, by a bounded number of callers, for a bounded time."""

import asyncio

import pytest

from common.runtime.failures import Retryable
from common.runtime.on_its_way import OnItsWay


async def test_what_is_there_is_found_at_the_first_look() -> None:
    looks: list[int] = []

    async def look() -> str:
        looks.append(1)
        return "there"

    assert await OnItsWay().look(look) == "there" and len(looks) == 1


async def test_what_comes_a_moment_later_is_found() -> None:
    left = [None, None, "there"]

    async def look() -> str | None:
        return left.pop(0)

    assert await OnItsWay().look(look) == "there"


async def test_what_never_comes_is_given_up() -> None:
    looks: list[int] = []

    async def look() -> None:
        looks.append(1)

    assert await OnItsWay(wait_s=0.05).look(look) is None and len(looks) > 1


async def test_one_caller_too_many_is_told_to_come_again_and_a_place_is_free_afterwards() -> None:
    reached, gate = asyncio.Event(), asyncio.Event()

    async def slow() -> str | None:
        if not reached.is_set():
            reached.set()
            return None
        await gate.wait()
        return "there"

    async def never() -> None:
        return None

    on_its_way = OnItsWay(wait_s=0.1, callers_max=1)
    first = asyncio.create_task(on_its_way.look(slow))
    await reached.wait()

    with pytest.raises(Retryable, match="too many"):
        await on_its_way.look(never)
    gate.set()
    assert await first == "there"
    assert await on_its_way.look(never) is None
