"""The embedded platform: a clear message or a clean recovery, never a second server on the same data."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from porchlight.clients.apply import apply, wait_until_known
from porchlight.installation import Home, Trouble
from porchlight.jobs.databases import wait_for
from porchlight.local import kafka
from porchlight.local.postgres import STOP_SIGNAL, Postgres
from porchlight.local.processes import Pids, free_port, started_ticks
from porchlight.replay.command import checked
from tests.support.platforms import RunningPlatform, command, started

SMALL = {"queues": {"kept": {"pool": "kept"}}}


async def post_one(platform: RunningPlatform) -> str:
    async with platform.clients(client="kept") as clients:
        await apply(clients.administrator(), SMALL)
        return str((await wait_until_known(clients.integration(), {"queue": "kept", "channel": "email"}))["id"])


async def state_of(platform: RunningPlatform, contact_id: str) -> str:
    async with platform.clients(client="kept") as clients:
        return str((await clients.integration().get(contact_id))["state"])


def test_a_platform_survives_its_supervisors_death_and_comes_back_on_other_ports(tmp_path: Path) -> None:
    with started(tmp_path, router=1) as first:
        contact_id = asyncio.run(post_one(first))
        said = (first.home.logs / "supervisor.log").read_text()
        assert "start page" in said and "Unable connect" not in said, "a first start is no string of errors"
        second_up = command("up", "--port-base", "0", home=tmp_path)
        assert second_up.returncode == 2 and "`porchlight down` stops it" in second_up.stderr
        before = {known.name: known for known in Pids(first.home).alive()}
        os.kill(first.running.supervisor_pid, signal.SIGKILL)
        while started_ticks(first.running.supervisor_pid) is not None:
            time.sleep(0.05)
    left = [known for known in before.values() if started_ticks(known.pid) == known.started_ticks]
    assert left == [], "`porchlight down` ends what a killed supervisor left"

    with started(tmp_path, router=1) as second:
        assert asyncio.run(state_of(second, contact_id)) == "queued"
        assert asyncio.run(checked(second.home, second.running)).total == 0
        assert second.running.kafka_bootstrap != first.running.kafka_bootstrap
        doctor, status = command("doctor", home=tmp_path), command("status", home=tmp_path)

    assert doctor.returncode == 0 and "the supervisor runs" in doctor.stdout
    assert status.returncode == 0 and "router-1" in status.stdout


def test_starting_again_after_a_killed_supervisor_takes_over_without_down(tmp_path: Path) -> None:
    with started(tmp_path, router=1) as first:
        postgres = next(known for known in Pids(first.home).alive() if known.name == "postgres")
        os.kill(first.running.supervisor_pid, signal.SIGKILL)
        again = command("up", "--port-base", "0", "--router", "1", home=tmp_path)

        assert again.returncode == 0, again.stderr
        assert started_ticks(postgres.pid) != postgres.started_ticks, "two servers on the same data"


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = command("up", "--port-base", str(port - 1), home=tmp_path)

    assert done.returncode == 2
    assert f"port {port} for intake 1 is taken" in done.stderr and "--port-base" in done.stderr


def test_commands_without_a_platform_say_how_to_start_one(tmp_path: Path) -> None:
    for words in (("status",), ("check",), ("keys", "create", "x"), ("replay",)):
        done = command(*words, home=tmp_path)

        assert done.returncode == 2 and "`porchlight up`" in done.stderr, words


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    done = command("up", home=tmp_path / "file")

    assert done.returncode == 2 and "choose another with --home" in done.stderr


def one_cluster(tmp_path: Path) -> tuple[Home, Postgres]:
    home = Home(tmp_path)
    home.make()
    server = Postgres(home, port=free_port(), fast=True)
    server.prepare()
    return home, server


def stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(STOP_SIGNAL)
    assert process.wait(20) == 0


def test_a_pid_file_that_names_a_stranger_is_cleared_away(tmp_path: Path) -> None:
    home, server = one_cluster(tmp_path)
    (server.data / "postmaster.pid").write_text(f"{os.getppid()}\n{server.data}\n")

    again = Postgres(home, port=free_port(), fast=True)
    again.prepare()

    assert not (server.data / "postmaster.pid").exists()
    process = again.start()
    asyncio.run(wait_for(again.dsn))
    stop(process)


def test_a_server_on_the_same_data_that_is_not_ours_is_not_joined(tmp_path: Path) -> None:
    home, server = one_cluster(tmp_path)
    process = server.start()
    try:
        while not (server.data / "postmaster.pid").exists():
            time.sleep(0.02)
        with pytest.raises(Trouble, match="we did not start it"):
            Postgres(home, port=free_port(), fast=True).prepare()
    finally:
        stop(process)


def test_a_half_made_cluster_is_made_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "rubbish").write_text("x")

    server = Postgres(home, port=free_port(), fast=True)
    server.prepare()

    assert (server.data / "PG_VERSION").exists() and not (server.data / "rubbish").exists()


def test_a_half_written_jar_is_fetched_again_and_a_wrong_one_is_never_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = kafka.jars(print)
    monkeypatch.setenv("PORCHLIGHT_CACHE", str(tmp_path))
    folder = kafka.cache()
    folder.mkdir(parents=True)
    for jar in whole:
        shutil.copy(jar, folder)
    broken = folder / "jopt-simple-5.0.4.jar"
    broken.write_bytes(broken.read_bytes()[:1_000])

    again = kafka.jars(print)

    assert [path.name for path in again] == [path.name for path in whole]
    assert broken.read_bytes() == next(p for p in whole if p.name == broken.name).read_bytes()
    with pytest.raises(Trouble, match="SHA-256"):
        kafka._fetch(folder / "x.jar", "net.sf.jopt-simple", "jopt-simple", "5.0.4", "0" * 64)
    assert not (folder / "x.jar").exists()
