"""The shells and folders of real machines: proxies, options for other programs, odd names, no locale."""

import asyncio
import os
import re
import socket
import sys
from pathlib import Path

import pytest

from porchlight.installation import Home
from porchlight.jobs.databases import wait_for
from porchlight.local.postgres import STOP_SIGNAL, Postgres
from porchlight.local.processes import forget_libpq, free_port
from tests.support.platforms import command, started

CONTACT = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b")


def a_shell_behind_a_proxy() -> dict[str, str]:
    """Nobody listens at the proxy, so whoever asks it gets no answer; every other variable would break a server or a client."""
    proxy = f"http://127.0.0.1:{free_port()}"
    return {
        **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), proxy),
        "PGSSLMODE": "verify-full",
        "PGHOST": "192.0.2.1",
        "PGTARGETSESSIONATTRS": "standby",
        "PGOPTIONS": "-c x",
        **dict.fromkeys(("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"), "-XX:NoSuchOption"),
        "LC_ALL": "C",
        "LANG": "C",
        "CLASSPATH": "/nowhere",
    }


@pytest.mark.long
def test_behind_a_proxy_in_an_odd_folder_without_a_locale_a_platform_starts_twice(tmp_path: Path) -> None:
    shell = a_shell_behind_a_proxy()
    folder = tmp_path / ("long" * 40) / "Zürich, 'Łódź' \"$HOME\" [dim] a:b;c 100%"
    folder.parent.mkdir()
    for turn in ("first", "second"):
        with started(folder, environment=shell, router=1) as running:
            done = command("try", home=folder, environment=shell)
            status = command("status", home=folder, environment=shell)
            log = (running.home.logs / "kafka.log").read_text(errors="replace")

        assert done.returncode == 0, f"{turn}: {done.stdout}{done.stderr}"
        assert CONTACT.search(done.stdout), f"the id stands in one line of what is piped: {done.stdout}"
        assert status.returncode == 0, f"{turn}: {status.stdout}"
        assert "NoSuchOption" not in log
    assert list(folder.parent.iterdir()) == [folder], "everything lies below the folder"
    assert (folder / "kafka-4.3.1" / "meta.properties").exists()


def test_variables_of_libpq_do_not_reach_our_own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in a_shell_behind_a_proxy().items():
        if name.startswith("PG"):
            monkeypatch.setenv(name, value)
    forget_libpq()
    home = Home(tmp_path)
    home.make()
    server = Postgres(home, port=free_port(), fast=True)
    server.prepare()
    process = server.start()

    asyncio.run(wait_for(server.dsn, timeout_s=30))

    process.send_signal(STOP_SIGNAL)
    assert process.wait(20) == 0


def test_the_health_check_of_a_container_asks_no_proxy() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        probe = asyncio.run(_probed(listening))

    assert probe == "ready"


async def _probed(listening: socket.socket) -> str:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    async with await asyncio.start_server(answer, sock=listening.dup()) as server:
        port = server.sockets[0].getsockname()[1]
        asked = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "common.runtime.probe", f"http://127.0.0.1:{port}/readyz"),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **a_shell_behind_a_proxy(), "no_proxy": "", "NO_PROXY": ""},
        )
        said, _ = await asked.communicate()
    return said.decode().strip()
