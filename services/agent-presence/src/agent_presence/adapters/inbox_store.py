"""The stored inboxes: what a replica starts from, written by the one that follows the router's facts."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from agent_presence.domain import Item, Standing
from common.runtime.bus import Place
from common.runtime.database import Connection, Pool, borrowed
from common.runtime.following import Sequences, load_positions

_ITEM = [field.name for field in fields(Item)]
_STANDING = [field.name for field in fields(Standing)]
PUT_ITEM = (
    f"INSERT INTO inbox_item ({', '.join(_ITEM)}) VALUES ({', '.join(f'${n + 1}' for n in range(len(_ITEM)))})"
    f" ON CONFLICT (contact_id, agent_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _ITEM[2:])}"
)
PUT_STANDING = (
    f"INSERT INTO agent_routing ({', '.join(_STANDING)})"
    f" VALUES ({', '.join(f'${n + 1}' for n in range(len(_STANDING)))})"
    f" ON CONFLICT (agent_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _STANDING[1:])}"
)


class PostgresInboxes:
    """See `agent_presence.ports.StoredInboxes`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def load(self, topic: str) -> tuple[list[Item], list[Standing], dict[Place, int], Sequences]:
        """Everything from one snapshot, and from where on the facts are missing in it."""
        async with (
            borrowed(self._pool) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            items = [Item(**dict(row)) for row in await connection.fetch("SELECT * FROM inbox_item")]
            standings = [Standing(**dict(row)) for row in await connection.fetch("SELECT * FROM agent_routing")]
            offsets, sequences = await load_positions(connection, [topic])
        return items, standings, offsets, sequences


class PostgresInboxTables:
    """See `agent_presence.ports.InboxTables`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def items_of(self, contact_ids: Sequence[str]) -> list[Item]:
        """Items of the contacts, whoever has them."""
        found = await self._connection.fetch(
            "SELECT * FROM inbox_item WHERE contact_id = ANY($1::text[])", list(contact_ids)
        )
        return [Item(**dict(row)) for row in found]

    async def write(
        self,
        *,
        items: Mapping[tuple[str, str], Item | None],
        standings: Mapping[str, Standing],
        outcomes: Mapping[tuple[str, str], str],
    ) -> None:
        """Items that are None are gone; of an outcome the first one counts."""
        connection = self._connection
        gone = sorted(key for key, item in items.items() if item is None)
        there = [item for _, item in sorted(items.items()) if item is not None]
        if gone:
            await connection.execute(
                "DELETE FROM inbox_item i USING unnest($1::text[], $2::text[]) AS g(contact_id, agent_id)"
                " WHERE i.contact_id = g.contact_id AND i.agent_id = g.agent_id",
                *[list(column) for column in zip(*gone, strict=True)],
            )
        if there:
            await connection.executemany(PUT_ITEM, [[getattr(item, name) for name in _ITEM] for item in there])
        if standings:
            rows = [[getattr(one, name) for name in _STANDING] for _, one in sorted(standings.items())]
            await connection.executemany(PUT_STANDING, rows)
        if outcomes:
            await connection.execute(
                "UPDATE command c SET outcome = o.outcome FROM unnest($1::text[], $2::text[], $3::text[])"
                " AS o(agent_id, command_id, outcome)"
                " WHERE c.agent_id = o.agent_id AND c.command_id = o.command_id AND c.outcome IS NULL",
                [agent for agent, _ in outcomes],
                [command for _, command in outcomes],
                list(outcomes.values()),
            )
