"""A platform of containers: its secrets and description, and the two jobs that everything waits for."""

import asyncio
import os
import time
from pathlib import Path
from urllib.parse import quote

from common.runtime.failures import Retryable
from common.runtime.kafka import create_topics
from porchlight.installation import SERVICES, Home, Running, Trouble, write_atomically
from porchlight.jobs.databases import MIGRATOR, create_databases, migrate_all, wait_for
from porchlight.jobs.kafka_users import ADMIN as KAFKA_ADMIN
from porchlight.jobs.kafka_users import MECHANISM, broker_logins, kafka_password, make_users_and_topics
from porchlight.jobs.keys import make_keys

GROUP = 10_001
"""The group of the services' containers: it may read the secrets, others may not."""
ADMIN = "postgres"
ROLES = (ADMIN, MIGRATOR, *SERVICES)
WAIT_S = 60.0


def initialise(home: Home, *, owner: int) -> None:
    """Make what is missing: secrets, signing key and description. What is there stays, so that nothing locks itself out."""
    home.make()
    make_keys(home)
    for name in ("key-pepper", "grafana-password"):
        home.secret(name)
    passwords = {role: home.secret(f"{role}-password") for role in ROLES}

    def dsn(user: str, role: str, database: str) -> str:
        return f"postgresql://{user}:{quote(passwords[role], safe='')}@postgres:5432/{database}"

    names = {service: service.replace("-", "_") for service in SERVICES}
    username = os.environ.get("KAFKA_USERNAME", "")  # of somebody else's Kafka
    for user in (KAFKA_ADMIN, *SERVICES):
        kafka_password(home, user)
    write_atomically(home.folder / "secrets" / "kafka-jaas.conf", broker_logins(kafka_password(home, KAFKA_ADMIN)))
    gateway = [os.environ.get("PORCHLIGHT_GATEWAY", "http://gateway:8080")]
    home.describe(
        Running(
            supervisor_pid=0,
            intake=gateway,
            router=gateway,
            presence=gateway,
            reporting=gateway,
            kafka_bootstrap=os.environ.get("KAFKA_BOOTSTRAP", "kafka:9094"),
            topic_prefix="",
            dsns={
                **{service: dsn(name, service, name) for service, name in names.items()},
                "admin": dsn("porchlight", ADMIN, "postgres"),
            },
            owner_dsns={service: dsn(MIGRATOR, MIGRATOR, name) for service, name in names.items()},
            versions={},
            kafka_ca_file=os.environ.get("KAFKA_CA_FILE", ""),
            kafka_username=username or KAFKA_ADMIN,
            kafka_password=home.secret("kafka-password") if username else kafka_password(home, KAFKA_ADMIN),
            kafka_mechanism="PLAIN" if username else MECHANISM,
        )
    )
    (home.folder / "journals").mkdir(exist_ok=True)
    _hand_over(home.folder, owner)


def _hand_over(folder: Path, owner: int) -> None:
    """Everything to the user who runs the platform, readable for the services' group, for nobody else."""
    for path in (folder, *sorted(folder.rglob("*"))):
        os.chown(path, owner, GROUP)
        path.chmod(0o750 if path.is_dir() else 0o640 if path.parent.name == "run" else 0o440)


async def migrate_databases(home: Home) -> None:
    """Roles, databases, rights and schemas, as far as they are missing. `Trouble` when PostgreSQL does not answer."""
    running = home.running()
    await wait_for(running.dsns["admin"], timeout_s=WAIT_S)
    databases = await create_databases(running.dsns["admin"], password=lambda role: home.secret(f"{role}-password"))
    await asyncio.to_thread(migrate_all, databases)


async def make_topics(home: Home, *, replication: int) -> list[str]:
    """The catalogue's topics, and the users of a Kafka of our own; returns the topics that were missing.

    `Trouble` when Kafka is away or has them otherwise.
    """
    running = home.running()
    deadline = time.monotonic() + float(os.environ.get("PORCHLIGHT_WAIT_S", WAIT_S))
    while True:
        try:
            if running.is_own_kafka:
                return await make_users_and_topics(
                    home, bootstrap=running.kafka_bootstrap, prefix=running.topic_prefix, replication=replication
                )
            return await create_topics(
                running.kafka_bootstrap,
                prefix=running.topic_prefix,
                replication=replication,
                security=running.kafka_security,
            )
        except Retryable as why:
            if time.monotonic() > deadline:
                raise Trouble(f"Kafka at {running.kafka_bootstrap} (KAFKA_BOOTSTRAP) does not answer: {why}") from why
            await asyncio.sleep(0.5)
        except ValueError as why:
            raise Trouble(str(why)) from why
