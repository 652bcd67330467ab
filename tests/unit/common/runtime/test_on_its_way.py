"""A fact that is on its way is waited for, by a bounded number of callers, for a bounded time."""

import asyncio
import time

import pytest

from common.runtime.clock import made_at_ms, new_id
from common.runtime.failures import Retryable
from common.runtime.on_its_way import YOUNG_MS, OnItsWay, is_young


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


async def test_what_cannot_come_any_more_is_given_up_at_the_first_look() -> None:
    looks = []

    async def look() -> None:
        looks.append(1)

    assert await OnItsWay(wait_s=60).look(look, may_come=False) is None
    assert len(looks) == 1


def test_only_a_contact_of_a_moment_ago_may_come() -> None:
    contact_id = new_id()
    made_ms = made_at_ms(contact_id)
    assert made_ms is not None and abs(made_ms - time.time_ns() // 1_000_000) < 60_000

    assert is_young(contact_id, made_ms + YOUNG_MS - 1) and is_young(contact_id, made_ms - YOUNG_MS + 1)
    assert not is_young(contact_id, made_ms + YOUNG_MS)
    assert not is_young("0" * 36, 0) and not is_young("-" * 14 + "7" + "-" * 21, 0)
