"""What agent-presence learns from the router's facts: inboxes, standings, outcomes of commands."""

from collections.abc import Sequence

from agent_presence.domain import Item, Standing, item_after, outcome_of, standing_after
from agent_presence.ports import InboxTables
from common.contracts import routing
from common.runtime.bus import Incoming


async def apply(tables: InboxTables, records: Sequence[Incoming]) -> None:
    """Write what the facts changed: items, standings, outcomes of commands."""
    contacts = sorted({record.fact.contact_id for record in records if _about_attempt(record)})  # type: ignore[union-attr]
    found = await tables.items_of(contacts)
    items: dict[tuple[str, str], Item | None] = {(item.contact_id, item.agent_id): item for item in found}
    standings: dict[str, Standing] = {}
    outcomes: dict[tuple[str, str], str] = {}
    for record in records:
        fact, seq = record.fact, record.envelope.sequence if record.envelope else None
        if fact is None or seq is None:
            continue
        standing = standing_after(fact, shard=record.partition, seq=seq)
        if standing is not None:
            standings[standing.agent_id] = standing
        elif _about_attempt(record):
            assert isinstance(fact, routing.RoutingFactBase)
            key = (fact.contact_id, str(getattr(fact, "agent_id", "")))
            items[key] = item_after(items.get(key), fact, shard=record.partition, seq=seq)
        answered = outcome_of(fact)
        if answered is not None:
            outcomes.setdefault(answered[:2], answered[2])
    await tables.write(items=items, standings=standings, outcomes=outcomes)


def _about_attempt(record: Incoming) -> bool:
    return isinstance(record.fact, routing.RoutingFactBase) and hasattr(record.fact, "attempt")
