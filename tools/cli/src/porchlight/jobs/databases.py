"""A database and a role for each service, and a role that owns the tables; brought to the newest schema."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from common.runtime.migrations import migrate
from porchlight.installation import SERVICES, Trouble
from porchlight.jobs.grants import grant, read_matrix
from porchlight.jobs.migrations import migrations_folder

READY_TIMEOUT_S = 30.0
MIGRATOR = "migrator"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """Addresses by service: for its own role, and for the role that owns the tables (migrations, keys, checks)."""

    services: dict[str, str]
    owners: dict[str, str]


async def create_databases(admin_dsn: str, *, password: Callable[[str], str], suffix: str = "") -> Databases:
    """A database and a role for each service, and one role that owns all tables. What is there already stays.

    `password`: of a role, by its name without the suffix.
    """
    connection = await asyncpg.connect(admin_dsn, timeout=5)
    owner = MIGRATOR + suffix
    services, owners = {}, {}
    try:
        await _role(connection, owner, password(MIGRATOR))
        await connection.execute(f'GRANT "{owner}" TO CURRENT_USER')
        for service in SERVICES:
            name = service.replace("-", "_") + suffix
            await _role(connection, name, password(service))
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await connection.execute(f'CREATE DATABASE "{name}" OWNER "{owner}"')
            await _adopt(connection, _with_database(admin_dsn, name), name=name, owner=owner)
            await connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
            await connection.execute(f'GRANT CONNECT ON DATABASE "{name}" TO "{name}"')
            services[service] = _with(admin_dsn, user=name, password=password(service), database=name)
            owners[service] = _with(admin_dsn, user=owner, password=password(MIGRATOR), database=name)
        return Databases(services=services, owners=owners)
    finally:
        await connection.close()


async def _adopt(connection: "asyncpg.Connection[asyncpg.Record]", inside_dsn: str, *, name: str, owner: str) -> None:
    """A database of before this role there was belongs to its service: hand it over with all that is in it."""
    has = await connection.fetchval(
        "SELECT r.rolname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = $1", name
    )
    if has == owner:
        return
    await connection.execute(f'ALTER DATABASE "{name}" OWNER TO "{owner}"')
    inside = await asyncpg.connect(inside_dsn, timeout=5)
    try:
        await inside.execute(f'REASSIGN OWNED BY "{name}" TO "{owner}"')
    finally:
        await inside.close()


async def _role(connection: "asyncpg.Connection[asyncpg.Record]", name: str, password: str) -> None:
    literal = await connection.fetchval("SELECT quote_literal($1)", password)
    exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
    verb = "ALTER" if exists else "CREATE"
    await connection.execute(f'{verb} ROLE "{name}" LOGIN PASSWORD {literal}')


async def drop_databases(admin_dsn: str, databases: Databases) -> None:
    """Remove what `create_databases` made with a suffix."""
    connection = await asyncpg.connect(admin_dsn, timeout=5)
    try:
        for dsn in databases.services.values():
            name = urlsplit(dsn).path[1:]
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            await connection.execute(f'DROP ROLE IF EXISTS "{name}"')
        owner = urlsplit(next(iter(databases.owners.values()))).username
        await connection.execute(f'DROP ROLE IF EXISTS "{owner}"')
    finally:
        await connection.close()


def migrate_all(databases: Databases, services: Sequence[str] = SERVICES) -> None:
    """Bring the services' databases to the newest schema, and their roles to exactly the granted rights."""
    for service in services:
        migrate(dsn=databases.owners[service], folder=str(migrations_folder(service)))
        role = urlsplit(databases.services[service]).username
        assert role is not None, "every service has a role"
        asyncio.run(grant(databases.owners[service], role=role, matrix=read_matrix(service)))


def _with_database(dsn: str, database: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


def _with(dsn: str, *, user: str, password: str, database: str) -> str:
    parts = urlsplit(dsn)
    place = f"{user}:{password}@{parts.hostname}:{parts.port}"
    return urlunsplit(("postgresql", place, f"/{database}", parts.query, ""))
