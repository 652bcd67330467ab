"""What goes wrong at an installation: each time a message that names the setting and the way out, and nothing lost."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from intake.config import SCHEMA
from tests.support.deployment import VERSION, Deployment, deployed, run

pytestmark = pytest.mark.timeout(600)
SKEWED = """
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + 300
time.time_ns = lambda: _time_ns() + 300_000_000_000
"""
"""A clock that is five minutes ahead, for all of a Python process."""


def secrets(folder: Path, *, mode: int = 0o440, **values: str) -> Path:
    folder.mkdir()
    for name, value in values.items():
        path = folder / name
        path.write_text(value)
        path.chmod(mode)
        run(["chgrp", "10001", str(path)], {})
    return folder


def intake_command(deployment: Deployment, folder: Path | None, *words: str, kafka: str = "kafka:9094") -> list[str]:
    mount = ["-v", f"{folder}:/run/secrets:ro"] if folder else []
    settings = {
        "INTAKE_DATABASE_URL": "postgresql://intake@postgres:5432/intake",
        "INTAKE_KAFKA_BOOTSTRAP": kafka,
        "INTAKE_JWKS_FILE": "/run/secrets/jwks.json",
        "PORCHLIGHT_SECRETS_DIR": "/run/secrets",
    }
    given = [word for name, value in settings.items() for word in ("-e", f"{name}={value}")]
    network = ["--network", f"{deployment.name}_inside"]
    return ["docker", "run", *words, *network, *mount, *given, f"porchlight-intake:{VERSION}"]


@contextmanager
def intake(deployment: Deployment, folder: Path, *words: str, **options: str) -> Iterator[str]:
    """An intake of its own beside the deployment's; its container's id."""
    container = run(intake_command(deployment, folder, "-d", *words, **options), deployment.environment).strip()
    try:
        yield container
    finally:
        deployment.docker("rm", "-f", container)


def readiness(deployment: Deployment, container: str) -> str:
    """What the container's own probe says, after the service had time to start."""
    for _ in range(40):
        said = run(
            ["docker", "exec", container, "python", "-m", "common.runtime.probe", "http://127.0.0.1:8000/readyz"],
            deployment.environment,
            check=False,
        )
        if "no answer" not in said:
            return said
        time.sleep(0.5)
    raise AssertionError(f"no answer: {deployment.docker('logs', container)}")


def test_a_missing_secret_is_named_with_the_place_where_it_belongs(deployment: Deployment, tmp_path: Path) -> None:
    empty = secrets(tmp_path / "s", intake_key_pepper="p" * 40)
    said = run(intake_command(deployment, empty, "--rm"), deployment.environment, check=False)
    assert "setting INTAKE_DATABASE_PASSWORD: missing" in said and "/run/secrets/intake_database_password" in said


def test_a_missing_folder_of_secrets_is_named(deployment: Deployment) -> None:
    said = run(intake_command(deployment, None, "--rm"), deployment.environment, check=False)
    assert "setting PORCHLIGHT_SECRETS_DIR: there is no folder /run/secrets" in said


def test_a_secret_that_everybody_may_read_is_refused(deployment: Deployment, tmp_path: Path) -> None:
    open_to_all = secrets(tmp_path / "s", mode=0o444, intake_database_password="x", intake_key_pepper="p" * 40)
    said = run(intake_command(deployment, open_to_all, "--rm"), deployment.environment, check=False)
    assert "everybody may read /run/secrets/intake_database_password; chmod o-r" in said


def test_a_wrong_password_is_said_in_the_readiness_and_the_log_and_the_process_stays(
    deployment: Deployment, tmp_path: Path
) -> None:
    wrong = secrets(tmp_path / "s", intake_database_password="wrong", intake_key_pepper="p" * 40)
    with intake(deployment, wrong) as container:
        assert "INTAKE_DATABASE_PASSWORD" in readiness(deployment, container)
        time.sleep(3)
        assert "database_not_usable" in deployment.docker("logs", container)
        state = json.loads(deployment.docker("inspect", container))[0]
        assert state["State"]["Running"] and state["RestartCount"] == 0


def test_without_kafka_intake_promises_and_another_instance_keeps_the_promise(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.tools("try")
    key = deployment.tools("keys", "create", "faults").split()[-1]
    kept = {name: (deployment.state / "secrets" / name).read_text() for name in ("intake-password", "key-pepper")}
    folder = secrets(
        tmp_path / "s", intake_database_password=kept["intake-password"], intake_key_pepper=kept["key-pepper"]
    )
    with intake(deployment, folder, kafka="nowhere:9094") as container:
        assert "ready" in readiness(deployment, container)
        answered = deployment.docker("exec", container, "python", "-c", POST, key)
        contact = json.loads(answered.strip().splitlines()[-1])
        assert contact["state"] == "accepted"
        headers = {"Authorization": f"Bearer {key}"}
        deadline = time.monotonic() + 30
        while json.loads(deployment.get(f"/v1/contacts/{contact['id']}", headers=headers)[1])["state"] == "accepted":
            assert time.monotonic() < deadline, "swept by the instance that reaches Kafka"
            time.sleep(0.5)
        assert json.loads(deployment.docker("inspect", container))[0]["State"]["Running"]


POST = """
import json, sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:8000/v1/contacts", method="POST",
  data=json.dumps({"queue": "porch", "channel": "email"}).encode(),
  headers={"Authorization": "Bearer " + sys.argv[1], "Idempotency-Key": "no-kafka", "Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=15).read().decode())
"""


@pytest.mark.parametrize(
    ("statement", "back", "says"),
    [
        (
            "UPDATE alembic_version SET version_num = '0001'",
            f"UPDATE alembic_version SET version_num = '{SCHEMA}'",
            "run the migrate job of this release",
        ),
        (
            "UPDATE alembic_version SET version_num = '0099'; UPDATE schema_floor SET revision = '0099'",
            f"UPDATE alembic_version SET version_num = '{SCHEMA}'; UPDATE schema_floor SET revision = '0002'",
            "deploy a newer release",
        ),
    ],
    ids=["older", "newer"],
)
def test_a_schema_that_does_not_fit_is_said(deployment: Deployment, statement: str, back: str, says: str) -> None:
    sql = ["exec", "-T", "postgres", "psql", "-q", "-U", "porchlight", "-d", "intake", "-c"]
    container = deployment.container("intake")["Id"]
    deployment.compose(*sql, statement)
    try:
        assert says in readiness(deployment, container)
    finally:
        deployment.compose(*sql, back)
    assert "ready" in readiness(deployment, container)


def test_a_topic_with_other_partitions_stops_the_topics_job_with_the_reason(deployment: Deployment) -> None:
    code = (
        "import asyncio; from aiokafka.admin import *; from common.runtime.kafka import create_topics\n"
        "from porchlight.installation import Home\n"
        "async def work():\n"
        " running = Home('/porchlight').running()\n"
        " admin = AIOKafkaAdminClient(**running.kafka); await admin.start()\n"
        " await admin.create_topics([NewTopic('odd.contacts.v1', 3, 1)]); await admin.close()\n"
        " await create_topics(running.kafka_bootstrap, prefix='odd.', security=running.kafka_security)\n"
        "asyncio.run(work())"
    )
    said = deployment.compose("run", "--rm", "-T", "--entrypoint", "python", "tools", "-c", code, check=False)
    assert "odd.contacts.v1 has 3 partitions, the catalogue says 12" in said


def test_an_unreachable_kafka_is_named_by_its_setting(deployment: Deployment) -> None:
    platform = deployment.state / "run" / "platform.json"
    text = platform.read_text()
    platform.write_text(text.replace("kafka:9094", "nowhere:9094"))
    try:
        said = deployment.compose(
            "run", "--rm", "-T", "-e", "PORCHLIGHT_WAIT_S=3", "tools", "deployed", "topics", check=False
        )
    finally:
        platform.write_text(text)
    assert "Kafka at nowhere:9094 (KAFKA_BOOTSTRAP) does not answer" in said


def test_a_clock_five_minutes_ahead_is_found_by_the_doctor(deployment: Deployment, tmp_path: Path) -> None:
    skewed = tmp_path / "sitecustomize.py"
    skewed.write_text(SKEWED)
    said = deployment.compose(
        "run", "--rm", "-T", "-v", f"{skewed}:/clock/sitecustomize.py:ro", "-e", "PYTHONPATH=/clock",
        "tools", "ops", "doctor", "--json", check=False,
    )  # fmt: skip
    assert "PostgreSQL is -300 s off this machine's clock: run NTP on both" in said
    assert "intake is -300 s off" in said
    rows = json.loads(deployment.tools("ops", "doctor", "--json").strip().splitlines()[-1])
    assert [row for row in rows if not row["ok"]] == []


def test_a_service_whose_clock_is_five_minutes_ahead_is_not_ready_and_says_so(
    deployment: Deployment, tmp_path: Path
) -> None:
    skewed = tmp_path / "sitecustomize.py"
    skewed.write_text(SKEWED)
    kept = {name: (deployment.state / "secrets" / name).read_text() for name in ("intake-password", "key-pepper")}
    folder = secrets(
        tmp_path / "s", intake_database_password=kept["intake-password"], intake_key_pepper=kept["key-pepper"]
    )
    mount = ("-v", f"{skewed}:/clock/sitecustomize.py:ro", "-e", "PYTHONPATH=/clock")
    with intake(deployment, folder, *mount) as container:
        said = readiness(deployment, container)
        assert "this clock is +300 s off the database's, INTAKE_CLOCK_SKEW_MAX_S is 60: run NTP" in said
        assert json.loads(deployment.docker("inspect", container))[0]["State"]["Running"]


def test_a_full_disk_is_answered_with_not_now_and_nothing_is_lost(images: None, tmp_path: Path) -> None:
    small = tmp_path / "small.yaml"
    small.write_text("services: {postgres: {tmpfs: ['/var/lib/postgresql/data:size=200m']}}\n")
    with deployed("porchlight-full", tmp_path / "state", "compose.yaml", str(small)) as full:
        full.up()
        full.tools("try")
        key = full.tools("keys", "create", "full").split()[-1]
        fill = "exec dd if=/dev/zero of=/var/lib/postgresql/data/fill bs=64k 2>/dev/null"
        full.compose("exec", "-T", "postgres", "sh", "-c", fill, check=False)
        answers = [post(full, key, f"full-{number}") for number in range(30)]
        refused = [status for status in answers if status == 503]
        full.compose("exec", "-T", "postgres", "rm", "/var/lib/postgresql/data/fill")
        deadline = time.monotonic() + 60
        while post(full, key, "after") != 202:
            assert time.monotonic() < deadline, "it must go on by itself"
            time.sleep(1)

        assert set(answers) <= {202, 503}
        assert refused, "the disk was full"
        assert "completed" in full.tools("try")
        assert "nothing lost, doubled or over capacity" in full.tools("check")


def post(deployment: Deployment, key: str, name: str) -> int:
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": name}
    body = {"queue": "porch", "channel": "email"}
    return httpx.post(f"{deployment.url}/v1/contacts", json=body, headers=headers, timeout=20).status_code
