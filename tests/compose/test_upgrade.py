"""From the previous release to this one and back under load: every request is answered and nothing is lost."""

import asyncio
import io
import re
import shutil
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from tests.support.deployment import DEPLOY, VERSION, Deployment, deployed, run

pytestmark = pytest.mark.timeout(900)
ROOT = DEPLOY.parent
SERVICES = ("intake", "router", "agent-presence", "reporting")
NUMBERED = "libs/common/pyproject.toml"
"""A file whose version is the release's, and that lay at this place in the release before, too."""
NUMBER = re.compile(r'^version = "(.*)"$', re.M)
BUILD_TIMEOUT_S = 600
CENTRE = '[queues.rolling]\npool = "rolling"\n'
"""A queue for the load alone: nobody answers it, and it is in nobody's way."""


@dataclass(slots=True)
class Asking:
    """Reads and posts through the gateway, without repeating anything: what a careless client would see."""

    url: str
    key: str
    token: str
    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    async def run(self, until: asyncio.Event) -> None:
        limits = httpx.Limits(max_keepalive_connections=8)
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=15, limits=limits) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for number in range(4):
                tasks.create_task(self._ask(client, until, number))

    async def _ask(self, client: httpx.AsyncClient, until: asyncio.Event, number: int) -> None:
        count = 0
        while not until.is_set():
            count += 1
            await self._one(client, f"{number}-{count}-{time.time_ns()}")
            await asyncio.sleep(0.05)

    async def _one(self, client: httpx.AsyncClient, name: str) -> None:
        key = {"Authorization": f"Bearer {self.key}"}
        admin = {"Authorization": f"Bearer {self.token}"}
        asked = {
            "post": client.post(
                "/v1/contacts", json={"queue": "rolling", "channel": "email"}, headers={**key, "Idempotency-Key": name}
            ),
            "status page": client.get("/"),
            "queue": client.get("/v1/queues/rolling", headers=admin),
            "agent": client.get("/v1/agents/ann", headers=admin),
        }
        for what, request in asked.items():
            try:
                answer = await request
                self.statuses[f"{what} {answer.status_code}"] += 1
                if answer.status_code >= 500:
                    self.failures.append(f"{what} {answer.status_code} {answer.text[:200]}")
            except httpx.TransportError as why:
                self.failures.append(f"{what}: {why!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A state of this repository, and the version that its images have."""

    commit: str
    version: str


def git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout


def version_of(text: str) -> str:
    found = NUMBER.search(text)
    assert found, text
    return found[1]


def previous_release() -> Release:
    """The newest tag but this version's; without one, the last commit before this version's number was given."""
    tags = [tag for tag in git("tag", "--merged", "HEAD", "--sort=-creatordate").split() if tag != f"v{VERSION}"]
    numbered = git("log", f'-Sversion = "{VERSION}"', "--format=%H", "--", NUMBERED).split()
    commit = tags[0] if tags else f"{numbered[-1]}^" if numbered else "HEAD"
    return Release(commit=commit, version=version_of(git("show", f"{commit}:{NUMBERED}")))


@pytest.fixture(scope="module")
def previous(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Release]]:
    """The previous release from its own files, two replicas of every service."""
    release = previous_release()
    assert release.version != VERSION, "a release has a number of its own"
    tree = tmp_path_factory.mktemp("previous")
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", release.commit], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
        packed.extractall(tree, filter="data")
    with deployed("porchlight-upgrade", tmp_path_factory.mktemp("upgrade"), folder=tree / "deploy") as found:
        run(
            ["docker", "compose", "-f", str(tree / "deploy" / "compose.yaml"), "--profile", "tools", "build", "-q"],
            found.environment,
            timeout_s=BUILD_TIMEOUT_S,
        )
        found.up()
        scale = [word for service in SERVICES for word in ("--scale", f"{service}=2")]
        found.compose("up", "-d", "--no-recreate", *scale)
        found.wait_healthy(*SERVICES)
        found.tools("try")
        (found.state / "rolling.toml").write_text(CENTRE)
        found.tools("apply", "/porchlight/rolling.toml")
        with env_of(tree / "deploy"):
            yield found, release


@contextmanager
def env_of(folder: Path) -> Iterator[None]:
    """The new release has the old one's `.env`, which says the id of Kafka's cluster, as one who upgrades takes it along."""
    ours, kept = DEPLOY / ".env", DEPLOY / ".env.kept"
    if ours.exists():
        ours.replace(kept)
    shutil.copy(folder / ".env", ours)
    try:
        yield
    finally:
        ours.unlink()
        if kept.exists():
            kept.replace(ours)


def images_of(deployment: Deployment) -> dict[str, list[str]]:
    """The version of every running replica's image, by service."""
    found: dict[str, list[str]] = {service: [] for service in SERVICES}
    for one in deployment.containers():
        service = one["Config"]["Labels"]["com.docker.compose.service"]
        if service in found and one["State"]["Running"]:
            found[service].append(one["Config"]["Image"].rpartition(":")[2])
    return found


async def test_an_upgrade_and_the_way_back_answer_every_request_and_lose_nothing(
    previous: tuple[Deployment, Release],
) -> None:
    old, release = previous
    new = replace(old, folder=DEPLOY)
    back = replace(new, version=release.version, files=(*new.files, "compose.open-kafka.yaml"))
    asking = Asking(
        url=old.url,
        key=old.tools("keys", "create", "rolling").split()[-1],
        token=old.tools("token", "admin", "rolling").split()[-1],
    )
    until = asyncio.Event()
    task = asyncio.create_task(asking.run(until))
    await asyncio.sleep(2)
    assert set(map(tuple, images_of(old).values())) == {(release.version,) * 2}
    await asyncio.to_thread(new.script, "upgrade.sh")
    assert set(map(tuple, images_of(new).values())) == {(VERSION,) * 2}
    assert "completed" in await asyncio.to_thread(new.tools, "try")
    await asyncio.to_thread(back.script, "upgrade.sh", "--back", *back.files)
    assert set(map(tuple, images_of(back).values())) == {(release.version,) * 2}
    await asyncio.sleep(2)
    until.set()
    await task

    assert sum(asking.statuses.values()) > 500, asking.statuses
    assert asking.failures == [], f"{len(asking.failures)} of {sum(asking.statuses.values())}: {asking.failures[:5]}"
    assert set(asking.statuses) == {"post 202", "status page 200", "queue 200", "agent 200"}
    assert "completed" in back.tools("try")
    assert "nothing lost, doubled or over capacity" in new.tools("check")


def test_kafka_is_closed_again_by_the_next_start(previous: tuple[Deployment, Release]) -> None:
    new = replace(previous[0], folder=DEPLOY)
    new.script("upgrade.sh")
    new.up()
    new.wait_healthy("kafka", *SERVICES)

    listeners = next(one for one in new.container("kafka")["Config"]["Env"] if one.startswith("KAFKA_LISTENERS="))
    assert listeners == "KAFKA_LISTENERS=SASL_PLAINTEXT://:9094,CONTROLLER://:9093"
    assert "completed" in new.tools("try")


def test_a_new_release_that_does_not_become_healthy_leaves_the_old_one_at_work(
    previous: tuple[Deployment, Release], tmp_path: Path
) -> None:
    old, _ = previous
    before = {one["Id"] for one in old.containers()}
    broken = tmp_path / "broken.yaml"
    stranger = "postgresql://somebody@postgres:5432/intake"
    broken.write_text(f"services: {{intake: {{environment: {{INTAKE_DATABASE_URL: '{stranger}'}}}}}}\n")
    new = replace(old, folder=DEPLOY, files=("compose.yaml", str(broken)), wait_s=15)

    with pytest.raises(AssertionError, match="the new intake did not become healthy and is gone; the old one goes on"):
        new.script("upgrade.sh", *new.files)

    assert {one["Id"] for one in old.containers()} == before
    assert old.get("/healthz")[0] == 200 and "completed" in old.tools("try")
