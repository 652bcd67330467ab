"""A database and a role for each service, brought to the newest schema."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from common.runtime.migrations import migrate
from porchlight.home import SERVICES, Trouble
from porchlight.plan import migrations_folder

READY_TIMEOUT_S = 30.0


async def wait_for(dsn: str, *, timeout_s: float = READY_TIMEOUT_S) -> None:
    """Return when the server answers. `Trouble` when it does not in time, or does not know us."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            connection = await asyncpg.connect(dsn, timeout=2)
            await connection.close()
            return
        except asyncpg.InvalidPasswordError as why:
            raise Trouble(
                "PostgreSQL does not take the password under secrets/: was the data folder copied without it?"
            ) from why
        except (OSError, TimeoutError, asyncpg.PostgresError) as why:
            if asyncio.get_running_loop().time() > deadline:
                raise Trouble(f"PostgreSQL does not answer: {why!r}; see logs/postgres.log") from why
            await asyncio.sleep(0.05)


async def create_databases(admin_dsn: str, *, password: str, suffix: str = "") -> dict[str, str]:
    """A role and a database for each service; returns their addresses. What is there already stays."""
    connection = await asyncpg.connect(admin_dsn, timeout=5)
    try:
        dsns = {}
        for service in SERVICES:
            name = service.replace("-", "_") + suffix
            literal = await connection.fetchval("SELECT quote_literal($1)", password)
            exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
            verb = "ALTER" if exists else "CREATE"
            await connection.execute(f'{verb} ROLE "{name}" LOGIN PASSWORD {literal}')
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await connection.execute(f'CREATE DATABASE "{name}" OWNER "{name}"')
                await connection.execute(f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC')
            dsns[service] = _with(admin_dsn, user=name, password=password, database=name)
        return dsns
    finally:
        await connection.close()


async def drop_databases(admin_dsn: str, dsns: dict[str, str]) -> None:
    """Remove what `create_databases` made with a suffix."""
    connection = await asyncpg.connect(admin_dsn, timeout=5)
    try:
        for dsn in dsns.values():
            name = urlsplit(dsn).path[1:]
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            await connection.execute(f'DROP ROLE IF EXISTS "{name}"')
    finally:
        await connection.close()


def migrate_all(dsns: dict[str, str], services: Sequence[str] = SERVICES) -> None:
    """Bring the services' databases to the newest schema, one after the other."""
    for service in services:
        migrate(dsn=dsns[service], folder=str(migrations_folder(service)))


def _with(dsn: str, *, user: str, password: str, database: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(("postgresql", f"{user}:{password}@{parts.hostname}:{parts.port}", f"/{database}", "", ""))
