"""Migrations: a job that may run twice, and a database that is only its service's."""

import asyncio

import asyncpg

from porchlight.installation import SERVICES
from porchlight.jobs.databases import create_databases, drop_databases, migrate_all
from tests.integration.conftest import Place


async def schema(dsn: str) -> list[tuple[str, str, str]]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' ORDER BY 1, 2"
        )
        return [tuple(row) for row in rows]
    finally:
        await connection.close()


async def test_a_second_job_finds_everything_done(place: Place) -> None:
    suffix = "_twice" + place.prefix[2:8].strip("_.")
    databases = await create_databases(place.admin_dsn, password=lambda role: f"tests-only-{role}", suffix=suffix)
    try:
        await asyncio.to_thread(migrate_all, databases)
        first = [await schema(databases.owners[service]) for service in SERVICES]
        await asyncio.to_thread(migrate_all, databases)

        assert [await schema(databases.owners[service]) for service in SERVICES] == first
        assert first == [await schema(place.owners[service]) for service in SERVICES]
    finally:
        await drop_databases(place.admin_dsn, databases)


async def test_a_service_cannot_open_anothers_database(place: Place) -> None:
    reporting = place.dsns["reporting"]
    user, rest = reporting.split("@", 1)
    foreign = f"{user}@{rest.rpartition('/')[0]}/{place.dsns['intake'].rpartition('/')[2]}"

    try:
        connection = await asyncpg.connect(foreign)
    except asyncpg.InsufficientPrivilegeError:
        return
    await connection.close()
    raise AssertionError("reporting opened intake's database")
