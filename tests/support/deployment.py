"""A platform of containers with a name, a folder and a port of its own, for tests."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from porchlight.local.processes import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
UP_TIMEOUT_S = 600
VERSION = version("porchlight-cli")
"""Of this tree's images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Compose files under one project name."""

    name: str
    files: tuple[str, ...]
    state: Path
    folder: Path = DEPLOY
    version: str = ""
    wait_s: int = 120
    port: int
    prometheus_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.name,
            "PORCHLIGHT_STATE": str(self.state),
            "PORCHLIGHT_PORT": str(self.port),
            "PORCHLIGHT_NO_BUILD": "1",
            "PROMETHEUS_PORT": str(self.prometheus_port),
            "PORCHLIGHT_WAIT_S": str(self.wait_s),
            **({"PORCHLIGHT_VERSION": self.version} if self.version else {}),
        }

    def up(self) -> str:
        return self.script("up.sh", *self.files)

    def compose(self, *words: str, timeout_s: float = 300, check: bool = True) -> str:
        files = [word for file in self.files for word in ("-f", str(self.folder / file))]  # an absolute path stays
        return run(["docker", "compose", *files, *words], self.environment, timeout_s=timeout_s, check=check)

    def tools(self, *words: str, timeout_s: float = 300, check: bool = True) -> str:
        return self.compose("run", "--rm", "-T", "tools", *words, timeout_s=timeout_s, check=check)

    @contextmanager
    def playing(self, *words: str) -> "Iterator[subprocess.Popen[str]]":
        """A command of the tools' container that goes on during the block, and is ended with it."""
        files = [word for file in self.files for word in ("-f", str(self.folder / file))]
        command = ["docker", "compose", *files, "run", "--rm", "-T", "tools", *words]
        with subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield process
            finally:
                self.end_tools()
                process.kill()

    def end_tools(self) -> None:
        """End every command of the tools' container that still runs."""
        label = f"label=com.docker.compose.project={self.name}"
        ids = run(
            ["docker", "ps", "-q", "--filter", label, "--filter", "label=com.docker.compose.oneoff=True"],
            self.environment,
        ).split()
        if ids:
            run(["docker", "rm", "-f", *ids], self.environment)

    def script(self, name: str, *words: str, timeout_s: float = UP_TIMEOUT_S) -> str:
        """Run one of the shell scripts of `deploy/`."""
        return run(["sh", str(self.folder / name), *words], self.environment, timeout_s=timeout_s)

    def containers(self) -> list[dict[str, Any]]:
        """What `docker inspect` says of every container of the project but those of single commands, which come and go."""
        label = f"label=com.docker.compose.project={self.name}"
        ids = self.docker("ps", "-aq", "--filter", label, "--filter", "label=com.docker.compose.oneoff=False").split()
        return list(json.loads(run(["docker", "inspect", *ids], self.environment)))

    def container(self, service: str, number: int = 1) -> dict[str, Any]:
        for one in self.containers():
            labels = one["Config"]["Labels"]
            if (
                labels["com.docker.compose.service"] == service
                and int(labels["com.docker.compose.container-number"]) == number
            ):
                return one
        raise AssertionError(f"no container {service} {number}")

    def docker(self, *words: str) -> str:
        return run(["docker", *words], self.environment)

    def kill(self, service: str, number: int = 1) -> str:
        """kill -9 the container's process; returns the container's id. It stays dead until it is started."""
        found = self.container(service, number)
        run(["docker", "kill", "--signal", "KILL", found["Id"]], self.environment)
        assert not self.container(service, number)["State"]["Running"], f"{service} was not killed"
        return str(found["Id"])

    def start(self, container_id: str) -> None:
        run(["docker", "start", container_id], self.environment)

    def wait_healthy(self, *services: str, within_s: float = 90) -> None:
        deadline = time.monotonic() + within_s
        while True:
            states = {
                one["Name"]: one["State"].get("Health", {}).get("Status")
                for one in self.containers()
                if one["Config"]["Labels"]["com.docker.compose.service"] in services
            }
            if states and set(states.values()) == {"healthy"}:
                return
            assert time.monotonic() < deadline, f"not healthy after {within_s} s: {states}"
            time.sleep(0.5)

    def get(self, path: str, *, headers: dict[str, str] | None = None) -> tuple[int, str]:
        answer = httpx.get(self.url + path, headers=headers, timeout=10)
        return answer.status_code, answer.text


def run(command: list[str], environment: dict[str, str], *, timeout_s: float = 120, check: bool = True) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@contextmanager
def deployed(name: str, state: Path, *files: str, folder: Path = DEPLOY) -> Iterator[Deployment]:
    """A deployment that is gone with all its volumes after the block; what its containers said stays beside `state`."""
    found = Deployment(
        name=name,
        files=files or ("compose.yaml",),
        state=state,
        folder=folder,
        port=free_port(),
        prometheus_port=free_port(),
    )
    try:
        yield found
    finally:
        found.end_tools()
        state.with_name(f"{state.name}-containers.log").write_text(found.compose("logs", "--no-color", check=False))
        found.compose("--profile", "*", "down", "-v", "--timeout", "5", check=False)
