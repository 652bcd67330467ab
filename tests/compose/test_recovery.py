"""What was lost comes back: a backup with contacts in flight, PostgreSQL alone, Kafka alone."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.deployment import Deployment, deployed, run

pytestmark = pytest.mark.timeout(900)
CLEAN = "nothing lost, doubled or over capacity"
FLOW_S = 25.0
AFTERWARDS_S = 8.0
"""How long contacts flow after the backup."""


def live_contacts(deployment: Deployment) -> int:
    said = deployment.compose(
        "exec", "-T", "postgres", "psql", "-U", "porchlight", "-d", "router", "-Atc",
        "SELECT count(*) FROM contact WHERE ended_at_ms IS NULL",
    )  # fmt: skip
    return int(said.strip())


def settled_check(deployment: Deployment, *, within_s: float = 60) -> str:
    """The checker's words, once everything has settled."""
    deadline = time.monotonic() + within_s
    while True:
        said = deployment.tools("check", check=False)
        if CLEAN in said or time.monotonic() > deadline:
            return said
        time.sleep(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A platform that went on after its backup, and the backup. It was made between the two times, in milliseconds."""

    platform: Deployment
    backup: Path
    began_ms: int
    ended_ms: int


@pytest.fixture(scope="module")
def saved(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    folder = tmp_path_factory.mktemp("saved")
    backup = folder / "backup.tar"
    with deployed("porchlight-before", folder / "before") as before:
        before.up()
        with before.playing("replay", "--speed", "300"):
            time.sleep(FLOW_S)
            began_ms = time.time_ns() // 1_000_000
            before.script("backup.sh", str(backup))
            ended_ms = time.time_ns() // 1_000_000
            assert live_contacts(before) > 0, "the backup must have contacts in flight"
            time.sleep(AFTERWARDS_S)
        yield Saved(platform=before, backup=backup, began_ms=began_ms, ended_ms=ended_ms)


def test_a_backup_with_contacts_in_flight_is_restored_on_an_empty_machine(saved: Saved, tmp_path: Path) -> None:
    assert saved.backup.stat().st_mode & 0o077 == 0, "it holds secrets"

    with deployed("porchlight-after", tmp_path / "after") as after:
        after.script("restore.sh", str(saved.backup))
        assert live_contacts(after) > 0
        assert CLEAN in settled_check(after)
        assert "completed" in after.tools("try")
        same = (saved.platform.state / "secrets" / "key-pepper").read_text()
        assert (tmp_path / "after" / "secrets" / "key-pepper").read_text() == same, "API keys stay good"

        with pytest.raises(AssertionError, match="is there already"):
            after.script("restore.sh", str(saved.backup))


def test_kafka_alone_is_lost_and_nothing_with_it(saved: Saved) -> None:
    platform = saved.platform
    platform.compose("stop", "intake", "router", "agent-presence", "reporting")
    assert live_contacts(platform) > 0
    platform.compose("rm", "-fs", "kafka")
    run(["docker", "volume", "rm", f"{platform.name}_kafka-data"], platform.environment)

    platform.compose("up", "-d", "kafka")
    platform.wait_healthy("kafka")
    said = platform.tools("deployed", "reconcile")
    assert "reads from the beginning" in said
    platform.up()

    assert CLEAN in settled_check(platform), "with the journals of the clients: every promise is kept"
    assert "completed" in platform.tools("try")


def accepted(deployment: Deployment) -> set[str]:
    """Every contact that intake knows."""
    said = deployment.compose(
        "exec", "-T", "postgres", "psql", "-U", "porchlight", "-d", "intake", "-Atc", "SELECT contact_id FROM contact"
    )
    return set(said.split())


def test_postgresql_alone_is_lost_and_with_it_what_came_after_the_backup_and_nothing_else(saved: Saved) -> None:
    platform = saved.platform
    journals = sorted((platform.state / "journals").glob("*.jsonl"))
    lines = [json.loads(line) for path in journals for line in path.read_text().splitlines()]
    posted = {line["contact_id"]: line["at_ms"] for line in lines if line["what"] == "posted"}
    platform.compose("stop", "intake", "router", "agent-presence", "reporting")
    platform.compose("rm", "-fs", "postgres")
    run(["docker", "volume", "rm", f"{platform.name}_postgres-data"], platform.environment)

    platform.script("restore.sh", str(saved.backup))

    lost = {contact: at_ms for contact, at_ms in posted.items() if contact not in accepted(platform)}
    before = [contact for contact, at_ms in posted.items() if at_ms < saved.began_ms]
    assert lost and len(before) > 20, f"{len(lost)} lost of {len(posted)}, {len(before)} before the backup"
    assert min(lost.values()) >= saved.began_ms, "promised before the backup, and kept"
    assert lost.keys() >= {contact for contact, at_ms in posted.items() if at_ms > saved.ended_ms}
    for path in journals:  # what the clients know of the lost time is true, and is no longer the platform's
        path.rename(path.with_suffix(".lost"))
    assert CLEAN in settled_check(platform)
    assert "completed" in platform.tools("try")


def test_a_backup_that_postgresql_breaks_off_is_none(deployment: Deployment, tmp_path: Path) -> None:
    deployment.compose("stop", "postgres")
    try:
        with pytest.raises(AssertionError, match="nothing was written"):
            deployment.script("backup.sh", str(tmp_path / "half.tar"))
    finally:
        deployment.compose("start", "postgres")
    deployment.wait_healthy("postgres", "intake", "router", "agent-presence", "reporting")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_backup_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    whole = tmp_path / "work"
    whole.mkdir()
    for name in ("postgres.tar.gz", "state.tar.gz"):
        (whole / name).write_bytes(b"not what it was")
    (whole / "SHA256SUMS").write_text("0" * 64 + "  postgres.tar.gz\n")
    shutil.make_archive(str(tmp_path / "damaged"), "tar", whole)
    with deployed("porchlight-damaged", tmp_path / "state") as nothing:
        with pytest.raises(AssertionError, match="is damaged"):
            nothing.script("restore.sh", str(tmp_path / "damaged.tar"))
        assert "porchlight-damaged" not in run(["docker", "volume", "ls", "-q"], nothing.environment)


def test_nobody_reconciles_under_services_at_work(deployment: Deployment) -> None:
    said = deployment.tools("deployed", "reconcile", check=False)
    assert "stop the services first" in said
