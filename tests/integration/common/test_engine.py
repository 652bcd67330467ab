"""What SQLAlchemy makes of a database that is away is the world's trouble; what it makes of our mistakes is not."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from common.runtime.database import open_engine, reading, writing
from common.runtime.failures import Retryable
from porchlight.local.processes import free_port
from tests.integration.conftest import Place


@pytest.fixture
async def engine(place: Place) -> AsyncIterator[AsyncEngine]:
    opened = open_engine(place.dsns["router"], name="engine-test", size=1)
    yield opened
    await opened.dispose()


async def test_a_server_that_is_not_there() -> None:
    nowhere = open_engine(f"postgresql://router@127.0.0.1:{free_port()}/router", name="t", size=1)

    with pytest.raises(Retryable, match="database"):
        async with reading(nowhere):
            pass


async def test_a_server_that_goes_in_the_middle(engine: AsyncEngine, place: Place) -> None:
    admin = await asyncpg.connect(place.admin_dsn)
    with pytest.raises(Retryable, match="database"):
        async with writing(engine) as connection:
            await connection.execute(text("SELECT 1"))
            ended = await admin.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'engine-test'"
            )
            await connection.execute(text("SELECT 2"))
    await admin.close()

    assert ended == 1
    async with reading(engine) as connection:
        assert (await connection.execute(text("SELECT 3"))).scalar() == 3


async def test_a_pool_that_stays_empty(engine: AsyncEngine) -> None:
    async with reading(engine):
        with pytest.raises(Retryable, match="database"):
            async with reading(engine):
                pass


async def test_a_mistake_of_ours_is_not_made_the_worlds(engine: AsyncEngine) -> None:
    with pytest.raises(ProgrammingError):
        async with reading(engine) as connection:
            await connection.execute(text("SELECT no_such_column"))
