"""Alembic as a job under an advisory lock, and the tables that several services have alike."""

import asyncio

import asyncpg
import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from common.runtime import locks

CONNECT_TIMEOUT_S = 10


def migrate(*, dsn: str, folder: str) -> None:
    """Bring one service's database to the newest schema; a second job at the same time waits and finds it done."""
    config = Config()
    config.set_main_option("script_location", folder)
    config.attributes["dsn"] = dsn
    command.upgrade(config, "head")


def run_environment() -> None:
    """What each service's `migrations/env.py` calls."""
    asyncio.run(_upgrade(context.config.attributes["dsn"]))


async def _upgrade(dsn: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade_locked)
    finally:
        await engine.dispose()


def _upgrade_locked(connection: sa.Connection) -> None:
    context.configure(connection=connection, transactional_ddl=True)
    with context.begin_transaction():
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": locks.MIGRATIONS})
        context.run_migrations()
        _note_floor(connection)


def _note_floor(connection: sa.Connection) -> None:
    """Write down the oldest code that works with the newest schema: the newest migration says it in `works_with`."""
    newest = ScriptDirectory.from_config(context.config).get_revision("head")
    assert newest is not None, "no migration"
    connection.execute(sa.text("CREATE TABLE IF NOT EXISTS schema_floor (revision text NOT NULL)"))
    connection.execute(sa.text("DELETE FROM schema_floor"))
    floor = getattr(newest.module, "works_with", newest.revision)
    connection.execute(sa.text("INSERT INTO schema_floor VALUES (:floor)"), {"floor": floor})


def create_following_tables(op: Operations) -> None:
    """`position`, `progress` and `parked`: what a follower of topics keeps."""
    op.execute("CREATE TABLE progress (follower text PRIMARY KEY, read_at timestamptz NOT NULL)")
    op.execute(
        """
        CREATE TABLE position (
          topic text NOT NULL, partition int NOT NULL, next_offset bigint NOT NULL, last_seq bigint NOT NULL,
          PRIMARY KEY (topic, partition)
        )"""
    )
    op.execute(
        """
        CREATE TABLE parked (
          topic text NOT NULL, partition int NOT NULL, record_offset bigint NOT NULL, reason text NOT NULL,
          value bytea NOT NULL, parked_at timestamptz NOT NULL DEFAULT now(),
          PRIMARY KEY (topic, partition, record_offset)
        )"""
    )


def create_audit_table(op: Operations) -> None:
    """`audit`: who changed what. Rows are added and never changed."""
    op.execute(
        """
        CREATE TABLE audit (
          no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
          actor text NOT NULL, action text NOT NULL, subject text NOT NULL, detail text NOT NULL DEFAULT ''
        )"""
    )


def create_outbox_table(op: Operations) -> None:
    """`outbox`: facts that must reach Kafka; a row lives until it is acknowledged."""
    op.execute(
        """
        CREATE TABLE outbox (
          event_id text PRIMARY KEY, topic text NOT NULL, partition int NOT NULL, key text NOT NULL,
          type text NOT NULL, at_ms bigint NOT NULL, correlation_id text NOT NULL, value bytea NOT NULL,
          created_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )"""
    )
    op.execute("CREATE INDEX outbox_age ON outbox (created_at)")
