"""Queue administration on SQLAlchemy Core."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.contracts.config import QueueDefined
from common.contracts.contacts import Requirement
from common.contracts.policies import QueuePolicy
from common.contracts.topics import CONFIG, shard_of
from common.runtime import locks
from common.runtime.audit import audited
from common.runtime.clock import Clock
from common.runtime.database import Connection, reading, writing
from common.runtime.outbox import OutboxRow, outbox_row
from router.policies.ports import Judge, nothing_against
from router.policies.validation import Fault

metadata = sa.MetaData()
queue = sa.Table(
    "queue",
    metadata,
    sa.Column("queue_id", sa.Text, primary_key=True),
    sa.Column("pool", sa.Text),
    sa.Column("shard", sa.Integer),
    sa.Column("version", sa.Integer),
    sa.Column("requirements", JSONB),
    sa.Column("priority", sa.Integer),
    sa.Column("offer_timeout_ms", sa.Integer),
    sa.Column("wrap_up_ms", sa.Integer),
    sa.Column("link_grace_ms", sa.Integer),
    sa.Column("service_level_ms", sa.Integer),
    sa.Column("policy", JSONB),
)
skill = sa.Table("skill", metadata, sa.Column("skill", sa.Text, primary_key=True))
contact = sa.Table(
    "contact",
    metadata,
    sa.Column("contact_id", sa.Text, primary_key=True),
    sa.Column("queue_id", sa.Text),
    sa.Column("state", sa.Text),
    sa.Column("ended_at_ms", sa.BigInteger),
)
outbox = sa.Table("outbox", metadata, *(sa.Column(name) for name in OutboxRow.__struct_fields__))


class PostgresSkills:
    """See `router.policies.ports.Skills`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def know(self, skills: Sequence[str]) -> None:
        """These exist."""
        await self._connection.execute(
            "INSERT INTO skill SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", list(skills)
        )


ONE_AT_A_TIME = sa.text(f"SELECT pg_advisory_xact_lock({locks.QUEUE_CHANGES}, hashtext(:pool))")
"""The queues of a pool are changed one after the other: two changes could be right alone and wrong together."""


class PostgresQueues:
    """Queues as administrators see them."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def put(
        self, queue_id: str, values: dict[str, Any], *, actor: str, judge: Judge = nothing_against
    ) -> tuple[QueueDefined, OutboxRow] | list[Fault] | None:
        """See `router.policies.ports.Queues`."""
        row = {**values, "queue_id": queue_id, "shard": shard_of(values["pool"]), "version": 1}
        changes = {name: value for name, value in row.items() if name not in ("queue_id", "pool", "shard")}
        statement = (
            insert(queue)
            .values(row)
            .on_conflict_do_update(
                index_elements=["queue_id"],
                set_={**changes, "version": queue.c.version + 1},
                where=queue.c.pool == values["pool"],
            )
            .returning(*queue.c)
        )
        async with writing(self._engine) as connection:
            await connection.execute(ONE_AT_A_TIME, {"pool": values["pool"]})
            faults = judge(await _policies(connection, values["pool"]))
            if faults:
                return faults
            stored = (await connection.execute(statement)).mappings().one_or_none()
            if stored is None:
                return None
            fact = defined(dict(stored))
            event = outbox_row(
                fact,
                topic=CONFIG.name,
                partition=stored["shard"],
                key=f"queue/{queue_id}",
                at_ms=self._clock.now_ms(),
            )
            await connection.execute(
                sa.insert(outbox).values({name: getattr(event, name) for name in OutboxRow.__struct_fields__})
            )
            await connection.execute(audited(actor, "queue.put", queue_id, msgspec.json.encode(values).decode()))
        return fact, event

    async def known(self, pool: str) -> tuple[set[str], dict[str, QueuePolicy]]:
        """Every skill, and the policies of the pool's queues."""
        async with reading(self._engine) as connection:
            skills = set((await connection.execute(sa.select(skill.c.skill))).scalars())
            return skills, await _policies(connection, pool)

    async def get(self, queue_id: str) -> tuple[QueueDefined, dict[str, int]] | None:
        """A queue, and how many live contacts it has by state."""
        async with reading(self._engine) as connection:
            found = await connection.execute(sa.select(queue).where(queue.c.queue_id == queue_id))
            row = found.mappings().one_or_none()
            if row is None:
                return None
            counts = await connection.execute(
                sa.select(contact.c.state, sa.func.count())
                .where(contact.c.queue_id == queue_id, contact.c.ended_at_ms.is_(None))
                .group_by(contact.c.state)
            )
            return defined(dict(row)), {row[0]: row[1] for row in counts}

    async def list_all(self, *, after: str, limit: int) -> list[QueueDefined]:
        """Queues in the order of their ids."""
        async with reading(self._engine) as connection:
            rows = await connection.execute(
                sa.select(queue).where(queue.c.queue_id > after).order_by(queue.c.queue_id).limit(limit)
            )
            return [defined(dict(row)) for row in rows.mappings()]


async def _policies(connection: AsyncConnection, pool: str) -> dict[str, QueuePolicy]:
    rows = await connection.execute(sa.select(queue.c.queue_id, queue.c.policy).where(queue.c.pool == pool))
    return {row[0]: msgspec.convert(row[1], QueuePolicy) for row in rows}


def defined(row: dict[str, Any]) -> QueueDefined:
    """The fact that says how the queue is."""
    return QueueDefined(
        queue=row["queue_id"],
        pool=row["pool"],
        version=row["version"],
        requirements=tuple(Requirement(skill=skill, min_level=level) for skill, level in row["requirements"]),
        priority=row["priority"],
        offer_timeout_ms=row["offer_timeout_ms"],
        wrap_up_ms=row["wrap_up_ms"],
        link_grace_ms=row["link_grace_ms"],
        service_level_ms=row["service_level_ms"],
        policy=msgspec.convert(row["policy"], QueuePolicy),
    )
