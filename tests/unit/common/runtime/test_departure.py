"""Whether a caller who is waited for has gone."""

import asyncio
import gc
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from common.runtime.http import departure
from tests.support.turns import turn


async def test_a_caller_is_there_until_the_connection_says_otherwise() -> None:
    left = asyncio.Event()
    said: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if said:
            return said.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    with departure(Request({"type": "http"}, receive)) as is_gone:
        await turn()
        before = is_gone()
        left.set()
        await turn()
        after = is_gone()

    assert (before, after) == (False, True)


async def test_a_caller_whose_body_goes_on_too_long_counts_as_gone_and_makes_no_noise() -> None:
    noise: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, about: noise.append(about))

    async def receive() -> Message:
        raise HTTPException(413)

    with departure(Request({"type": "http"}, receive)) as is_gone:
        await turn()
        gone = is_gone()
    del is_gone
    gc.collect()  # a task whose error nobody asked for says so when it is thrown away

    assert gone and not noise


async def test_nobody_waits_for_a_departure_after_the_answer() -> None:
    waits = asyncio.Event()

    async def receive() -> Message:
        try:
            await asyncio.Event().wait()
        finally:
            waits.set()
        raise AssertionError

    with departure(Request({"type": "http"}, receive)):
        await turn()
    await turn()

    assert waits.is_set()
