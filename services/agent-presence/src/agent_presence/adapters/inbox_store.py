"""The stored inboxes: what a replica starts from, written by the one that follows the router's facts."""

from collections.abc import Sequence
from dataclasses import fields

from agent_presence.domain import Item, Standing, item_after, outcome_of
from agent_presence.inboxes import Inboxes
from common.contracts import routing
from common.runtime.bus import Incoming, Place
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


async def load(pool: Pool, inboxes: Inboxes, topic: str) -> tuple[dict[Place, int], Sequences]:
    """Fill `inboxes` from one snapshot, and say from where on the facts are missing in it."""
    async with (
        borrowed(pool) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        items = [Item(**dict(row)) for row in await connection.fetch("SELECT * FROM inbox_item")]
        standings = [Standing(**dict(row)) for row in await connection.fetch("SELECT * FROM agent_routing")]
        positions = await load_positions(connection, [topic])
    inboxes.load(items, standings)
    return positions


async def apply(connection: Connection, records: Sequence[Incoming]) -> None:
    """Write what the facts changed: items, standings, outcomes of commands."""
    contacts = sorted({record.fact.contact_id for record in records if _about_attempt(record)})  # type: ignore[union-attr]
    found = await connection.fetch("SELECT * FROM inbox_item WHERE contact_id = ANY($1::text[])", contacts)
    items: dict[tuple[str, str], Item | None] = {
        (row["contact_id"], row["agent_id"]): Item(**dict(row)) for row in found
    }
    standings: dict[str, Standing] = {}
    outcomes: dict[tuple[str, str], str] = {}
    for record in records:
        fact, seq = record.fact, record.envelope.sequence if record.envelope else None
        if fact is None or seq is None:
            continue
        if isinstance(fact, routing.AgentRoutingChanged):
            standings[fact.agent_id] = Standing(
                agent_id=fact.agent_id,
                session_no=fact.session_no,
                routing_state=fact.routing_state,
                reason=fact.reason,
                shard=record.partition,
                seq=seq,
            )
        elif _about_attempt(record):
            assert isinstance(fact, routing.RoutingFactBase)
            key = (fact.contact_id, str(getattr(fact, "agent_id", "")))
            items[key] = item_after(items.get(key), fact, shard=record.partition, seq=seq)
        answered = outcome_of(fact)
        if answered is not None:
            outcomes.setdefault(answered[:2], answered[2])
    await _write(connection, items, standings, outcomes)


async def _write(
    connection: Connection,
    items: dict[tuple[str, str], Item | None],
    standings: dict[str, Standing],
    outcomes: dict[tuple[str, str], str],
) -> None:
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


def _about_attempt(record: Incoming) -> bool:
    return isinstance(record.fact, routing.RoutingFactBase) and hasattr(record.fact, "attempt")
