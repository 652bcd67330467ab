"""PostgreSQL: raw asyncpg where it is hot, SQLAlchemy Core for the rest."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from common.runtime.failures import Retryable, strays_as_trouble

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

CONNECT_TIMEOUT_S = 3.0
COMMAND_TIMEOUT_S = 5.0
ACQUIRE_TIMEOUT_S = 2.0

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""What asyncpg raises when the database is away, going down, full, does not know us (yet), or asks for the same again.

`InternalClientError` belongs here: a connection that breaks while a statement is being prepared says "another operation is
in progress" to whoever asks next. `LockNotAvailableError`: an instance that died with its machine holds its rows for
up to five seconds, longer than anybody waits for a lock.
"""


def server_settings(name: str) -> dict[str, str]:
    """Session settings that bound every wait on the server's side."""
    return {
        "application_name": name,
        "timezone": "UTC",
        "idle_in_transaction_session_timeout": "5000",
        "lock_timeout": "3000",
        "tcp_keepalives_idle": "2",
        "tcp_keepalives_interval": "1",
        "tcp_keepalives_count": "3",
    }


async def open_pool(dsn: str, *, name: str, size: int) -> Pool:
    """A pool that connects lazily, so that a service starts while its database is still away."""
    pool = asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings=server_settings(name),
        reset=_keep,
    )
    return await pool


async def _keep(_connection: Connection) -> None:
    """Nothing of ours changes a session, so a connection that comes back needs no reset, and no round trip for it."""


async def open_connection(
    dsn: str, *, name: str, durable: bool = True, idle_session_timeout_s: float = 0
) -> "asyncpg.Connection[asyncpg.Record]":
    """One raw connection. Raises `Retryable` when the database is away.

    `idle_session_timeout_s`: the server ends the session when we are silent for so long, and with it what it holds.

    Not `durable`: a commit does not wait for the disk. For what a crash may take back because it is derived again (a
    read model together with its position) or means nothing afterwards (a sign of life).
    """
    settings = server_settings(name) if durable else {**server_settings(name), "synchronous_commit": "off"}
    if idle_session_timeout_s:
        settings["idle_session_timeout"] = str(round(idle_session_timeout_s * 1_000))
    try:
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=settings,
        )
    except AWAY as why:
        raise Retryable(f"database: {why!r}") from why


@asynccontextmanager
async def borrowed(pool: Pool) -> AsyncIterator[Connection]:
    """A connection of the pool. Raises `Retryable` when the database is away or the pool stays empty."""
    try:
        with strays_as_trouble():
            async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                yield connection
    except AWAY as why:
        raise Retryable(f"database: {why!r}") from why


def open_engine(dsn: str, *, name: str, size: int) -> AsyncEngine:
    """A SQLAlchemy engine for whatever is not hot. The address is read by asyncpg alone, so `sslmode` and the like work."""

    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            dsn, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S, server_settings=server_settings(name)
        )

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=size,
        max_overflow=0,
        pool_timeout=ACQUIRE_TIMEOUT_S,
        pool_pre_ping=True,
    )


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection of the engine to read with. Raises `Retryable` when the database is away or the pool stays empty."""
    with _world_is_retryable():
        async with engine.connect() as connection:
            yield connection


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction of the engine, committed when the block ends. Raises `Retryable` as `reading` does."""
    with _world_is_retryable():
        async with engine.begin() as connection:
            yield connection


@contextmanager
def _world_is_retryable() -> Iterator[None]:
    try:
        yield
    except (*AWAY, PoolTimeout) as why:
        raise Retryable(f"database: {why!r}") from why
    except DBAPIError as why:
        cause = why.orig.__cause__ if why.orig is not None else None
        if isinstance(cause, AWAY):
            raise Retryable(f"database: {cause!r}") from why
        raise
