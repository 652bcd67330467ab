"""Raw connections: bounded in number, size and time, and refused as problems; without a credential nothing is held for long."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from common.runtime.connections import ConnectionLimits, room_for
from common.runtime.http import make_app
from common.runtime.lifecycle import Running, make_server

QUICK = ConnectionLimits(connections_max=20, head_bytes_max=4_096, head_s=1.0, body_s=1.0, keep_alive_s=1.0)
PATIENT = ConnectionLimits(head_bytes_max=4_096)
GET = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"
WITHIN_S = 10.0


@asynccontextmanager
async def served(limits: ConnectionLimits) -> AsyncIterator[int]:
    async def ready() -> dict[str, str]:
        return {}

    app = make_app(title="t", description="", running=Running(), ready=ready)

    @app.post("/notes")
    async def post(note: dict[str, Any]) -> dict[str, Any]:
        return note

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    server = make_server(app, host="127.0.0.1", port=0, stop_timeout_s=1, limits=limits)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def quick() -> AsyncIterator[int]:
    async with served(QUICK) as port:
        yield port


@pytest.fixture
async def patient() -> AsyncIterator[int]:
    async with served(PATIENT) as port:
        yield port


async def said(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """What comes back until the other end closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(reader.read())
    try:
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                if pause_s:
                    await asyncio.wait({answer}, timeout=pause_s)
                if answer.done():
                    break
        async with asyncio.timeout(WITHIN_S):
            return await answer
    finally:
        writer.close()


def is_problem(answer: bytes, status: int, name: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert b"content-type: application/problem+json" in head and b"connection: close" in head.lower()
    found = json.loads(body)
    assert (
        found["type"] == f"urn:porchlight:problem:{name}" and found["status"] == status and len(found["way_out"]) > 10
    )


@pytest.mark.parametrize(
    ("request_bytes", "status", "name"),
    [
        (b"nonsense\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", 400, "malformed-request"),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed-request"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "malformed-request",
        ),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version-not-supported"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\nx", 417, "expectation-failed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 5_000 + b"\r\n\r\n", 431, "head-too-large"),
        (b"GET /" + b"x" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431, "head-too-large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1_000 + b"\r\n", 431, "head-too-large"),
    ],
)
async def test_what_is_no_request_of_ours_is_refused_as_a_problem(
    patient: int, request_bytes: bytes, status: int, name: str
) -> None:
    is_problem(await said(patient, request_bytes), status, name)


async def test_a_header_without_an_end_is_cut_off_long_before_it_fills_the_memory(patient: int) -> None:
    sent = 0
    _, writer = await asyncio.open_connection("127.0.0.1", patient)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    with suppress(ConnectionError):
        for _ in range(5_000):  # 320 MB
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536
    writer.close()

    assert sent < 40_000_000  # what the sockets of both ends hold


async def test_empty_lines_without_an_end_are_cut_off(patient: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", patient)
    writer.write(GET)
    await reader.readuntil(b'"alive"}')
    writer.write(b"\r\n" * 10_000)

    async with asyncio.timeout(WITHIN_S):
        rest = await reader.read()
    writer.close()
    is_problem(rest, 431, "head-too-large")


@pytest.mark.parametrize(
    ("part", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost:", 408),
        (b"POST /notes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", 408),
        (
            b"POST /notes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            408,
        ),
    ],
)
async def test_half_a_request_is_waited_for_in_vain_for_a_bounded_time(quick: int, part: bytes, status: int) -> None:
    is_problem(await said(quick, part), status, "too-slow")


async def test_a_connection_on_which_nothing_is_said_is_closed_silently(quick: int) -> None:
    assert await said(quick) == b""


async def test_a_drop_at_a_time_does_not_win_time(quick: int) -> None:
    drops = [bytes([byte]) for byte in b"GET / HTTP/1.1\r\nHost: " + b"a" * 400]
    body = b"POST /notes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"

    is_problem(await said(quick, *drops, pause_s=0.05), 408, "too-slow")
    is_problem(await said(quick, body, *([b" "] * 400), pause_s=0.05), 408, "too-slow")


async def test_one_connection_too_many_is_told_to_come_again(quick: int) -> None:
    held = [await asyncio.open_connection("127.0.0.1", quick) for _ in range(QUICK.connections_max)]
    for _, writer in held:
        writer.write(GET)
    for reader, _ in held:
        await reader.readuntil(b'"alive"}')

    answer = await said(quick, GET)
    is_problem(answer, 503, "try-again")
    assert b"retry-after" in answer.lower()

    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    await _eventually(lambda: _answers(quick))


async def _answers(port: int) -> bool:
    return (await said(port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).startswith(b"HTTP/1.1 200")


async def _eventually(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await look():
            await asyncio.sleep(0.05)


async def test_requests_in_a_row_and_in_pieces_are_answered_on_one_connection(quick: int) -> None:
    body = b'{"a": 1}'
    post = b"POST /notes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", quick)
    for _ in range(3):
        for part in (post[:20], post[20:], body[:3], body[3:]):
            writer.write(part)
            await asyncio.sleep(0.05)
        assert await reader.readuntil(b'{"a":1}')
    writer.write(GET + GET)
    for _ in range(2):
        assert await reader.readuntil(b'"alive"}')
    writer.close()


async def test_a_mistake_of_ours_leaves_the_connection_open(patient: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", patient)
    for _ in range(3):
        writer.write(b"GET /broken HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 500 ") and b"connection: close" not in head.lower()
        await reader.readuntil(b"}")
    writer.write(GET)
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_an_answer_that_nobody_reads_does_not_hold_its_connection_for_ever() -> None:
    ended = asyncio.Event()

    async def endless(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(100_000):
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        finally:
            ended.set()

    limits = ConnectionLimits(write_s=0.4)
    server = make_server(endless, host="127.0.0.1", port=0, stop_timeout_s=1, limits=limits)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    _, writer = await asyncio.open_connection("127.0.0.1", server.servers[0].sockets[0].getsockname()[1])
    writer.write(GET)

    async def is_gone() -> bool:
        return not server.server_state.connections and ended.is_set()

    await asyncio.sleep(0.2)
    await _eventually(is_gone)
    writer.close()
    server.should_exit = True
    await task


def test_there_is_room_for_no_more_connections_than_files_can_be_open() -> None:
    assert room_for(10) == 10
    assert 1 <= room_for(1_000_000_000) < 1_000_000_000
