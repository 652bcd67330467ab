"""What the only door refuses is a problem with a way out; it holds as many requests as its setting says."""

import asyncio
import socket
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from tests.support import deploy_tools
from tests.support.gateway import gateway
from tests.support.platforms import RunningPlatform

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not deploy_tools.is_wanted("nginx"), reason="no nginx here; `make deploy-tools` brings one"),
]
POLLS = 1_200
"""More than nginx's own default of 1,024 connections a worker could hold, at two for each."""
LONG = b"x" * 9_000


@pytest.fixture(scope="module")
def port(platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with gateway(tmp_path_factory.mktemp("gateway"), platform.running) as found:
        yield found


def ask(port: int, request: bytes) -> httpx.Response:
    """The answer to these very bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as line:
        line.sendall(request)
        head, body = b"", b""
        while b"\r\n\r\n" not in head:
            part = line.recv(65_536)
            assert part, f"no whole answer: {head!r}"
            head += part
        head, _, body = head.partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        headers = [tuple(field.split(": ", 1)) for field in fields]
        length = int({name.lower(): value for name, value in headers}.get("content-length", 0))
        while len(body) < length:
            body += line.recv(65_536)
    return httpx.Response(int(first.split()[1]), headers=headers, content=body)


REFUSED = {
    "no request line": (b"rubbish\r\n\r\n", 400),
    "two lengths": (b"POST /v1/contacts HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "unknown path": (b"GET /no/such/path HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "inner page": (b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "trace": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "body too large": (b"POST /v1/contacts HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n", 413),
    "path too long": (b"GET /" + LONG + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "header too long": (b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + LONG + b"\r\n\r\n", 431),
    "unknown coding": (b"POST /v1/contacts HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
    "version": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
}


@pytest.mark.parametrize(("request_bytes", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_what_nginx_itself_refuses_is_a_problem_with_a_way_out(port: int, request_bytes: bytes, status: int) -> None:
    answer = ask(port, request_bytes)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status and problem["type"].startswith("urn:porchlight:problem:")
    assert problem["title"] and problem["detail"] and problem["way_out"]


@pytest.mark.parametrize(
    "agent", ["auth0%7C5f7c8ec7", "ann@example.org", "A1B2C3D4-0000-4000-8000-00000000ABCD", "a%23EXT%23%25"]
)
def test_agents_are_found_under_the_ids_of_identity_providers(platform: RunningPlatform, port: int, agent: str) -> None:
    direct = httpx.get(f"{platform.running.presence[0]}/v1/agents/{agent}", trust_env=False)
    answer = ask(port, f"GET /v1/agents/{agent} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    assert direct.status_code == answer.status_code == 401  # by the service: nginx has no such answer
    assert "x-served-at" in answer.headers


def test_a_body_that_stops_coming_is_let_go(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=15) as line:
        line.sendall(b"POST /v1/contacts HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
        assert line.recv(100) == b"", "nginx closes: to who does not send it does not answer"


class Holding:
    """A service that answers nobody until so many have asked."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked = 0
        self.all_here = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        if self.asked == self.number:
            self.all_here.set()
        await self.all_here.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


async def test_as_many_requests_are_held_as_the_setting_promises(
    platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory
) -> None:
    holding = Holding(POLLS)
    server = await asyncio.start_server(holding.serve, "127.0.0.1", 0, backlog=POLLS)
    place = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    running = msgspec.structs.replace(platform.running, presence=[place])
    settings = {"GATEWAY_REQUESTS_PER_S": "5000", "GATEWAY_BURST": "5000"}
    folder = tmp_path_factory.mktemp("holding")
    limits = httpx.Limits(max_connections=POLLS, max_keepalive_connections=0)

    async with server, asyncio.TaskGroup() as tasks:
        with gateway(folder, running, **settings) as port:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60, trust_env=False
            ) as client:
                asked = [tasks.create_task(client.get("/v1/inbox")) for _ in range(POLLS)]
                answers = [await one for one in asked]

    assert holding.asked == POLLS and {answer.status_code for answer in answers} == {204}


def test_the_clients_address_is_believed_of_the_proxy_before_it_and_of_nobody_else(
    platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def statuses(port: int, addresses: list[str]) -> list[int]:
        url = f"http://127.0.0.1:{port}/v1/skills"
        return [
            httpx.get(url, headers={"X-Forwarded-For": address}, trust_env=False).status_code for address in addresses
        ]

    slow = {"GATEWAY_REQUESTS_PER_S": "1", "GATEWAY_BURST": "1"}
    clients = [f"192.0.2.{number}" for number in range(1, 9)]
    with gateway(tmp_path_factory.mktemp("behind"), platform.running, **slow) as port:
        assert 429 not in statuses(port, clients), "a bucket for each client behind the proxy"
    with gateway(tmp_path_factory.mktemp("alone"), platform.running, **slow, GATEWAY_TRUSTED_PROXY="192.0.2.1") as port:
        assert 429 in statuses(port, clients), "nobody's word is taken"
