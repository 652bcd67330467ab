"""The edge answers a request even when its instance ends in the middle of it."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from common.runtime.http import Edge, make_app
from common.runtime.lifecycle import Running
from common.runtime.metrics import requests


async def cut_off(*, after: list[Message]) -> list[Message]:
    """What a client gets whose request is cancelled after the app has sent `after`."""
    reached, sent = asyncio.Event(), []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in after:
            await send(message)
        reached.set()
        await asyncio.Event().wait()

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/v1/inbox", "headers": []}
    task = asyncio.create_task(Edge(app)(scope, receive, send))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return sent


async def test_a_request_that_is_cut_off_is_told_to_come_again() -> None:
    start, body = await cut_off(after=[])

    assert start["status"] == 503 and (b"retry-after", b"1") in start["headers"]
    assert json.loads(body["body"])["type"] == "urn:porchlight:problem:try-again"


async def test_an_answer_that_had_begun_is_left_as_it_is() -> None:
    begun: Message = {"type": "http.response.start", "status": 200, "headers": []}

    assert [message["type"] for message in await cut_off(after=[begun])] == ["http.response.start"]


async def test_a_mistake_of_ours_is_answered_with_its_correlation_id_and_counted() -> None:
    async def ready() -> dict[str, str]:
        return {}

    app = make_app(title="t", description="", running=Running(), ready=ready)

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    counted = requests.labels("GET", "/broken", "500")
    before = counted._value.get()
    transport = httpx.ASGITransport(app)  # which raises what the app does not contain
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        answer = await client.get("/broken", headers={"X-Correlation-Id": "call-9"})

    assert (answer.status_code, answer.headers["x-correlation-id"]) == (500, "call-9")
    assert answer.json()["type"] == "urn:porchlight:problem:our-mistake"
    assert counted._value.get() == before + 1
