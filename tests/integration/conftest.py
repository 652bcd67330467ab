"""A fresh set of migrated databases and topics for each test module."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from common.runtime.clock import new_id
from common.runtime.kafka import create_topics
from porchlight.jobs.databases import create_databases, drop_databases, migrate_all
from tests.support.servers import Servers


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a module's tests work."""

    admin_dsn: str
    dsns: dict[str, str]
    owners: dict[str, str]
    bootstrap: str
    prefix: str


@pytest.fixture(scope="module")
def place(servers: Servers) -> Iterator[Place]:
    suffix = "_" + new_id()[-12:]
    databases = asyncio.run(
        create_databases(servers.admin_dsn, password=lambda role: f"tests-only-{role}", suffix=suffix)
    )
    migrate_all(databases)
    prefix = f"t{suffix}."
    asyncio.run(create_topics(servers.bootstrap, prefix=prefix))
    yield Place(
        admin_dsn=servers.admin_dsn,
        dsns=databases.services,
        owners=databases.owners,
        bootstrap=servers.bootstrap,
        prefix=prefix,
    )
    asyncio.run(drop_databases(servers.admin_dsn, databases))
