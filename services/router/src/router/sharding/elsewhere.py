"""Units of our agents that contacts of another shard still take: an agent was moved to a pool of ours while they ran out there.

A unit is taken once in the whole platform, and the database refuses it twice. So that a shard does not ask for what will be
refused, it looks when an agent signs in, and again while there are such units. A contact that the agent left behind in
another shard ends there by itself, after its link grace or its wrap-up at the latest; until then it counts.
"""

from collections.abc import Sequence

import msgspec

from router.core import State
from router.core.model import events
from router.sharding.ports import Ledger

LOOK_EVERY_MS = 1_000


class Elsewhere:
    """Looks for one reign. It asks for agents of its own shard only, so there are never more than signed in."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._watched: set[str] | None = None
        self._looked_at_ms = 0

    async def look(self, state: State, told: Sequence[events.Input], now_ms: int) -> list[events.Input]:
        """What was told, with the units elsewhere of those who sign in, and before it what changed of others."""
        if self._watched is None:
            self._watched = {agent.agent_id for agent in state.agents.values() if agent.elsewhere}
        asked = {one.agent_id for one in told if isinstance(one, events.AgentSeen) and _signs_in(state, one)}
        is_time = bool(self._watched) and now_ms - self._looked_at_ms >= LOOK_EVERY_MS
        if is_time:
            self._looked_at_ms = now_ms
        elif not asked:
            return list(told)
        watched = sorted(self._watched - asked) if is_time else []
        found = await self._ledger.elsewhere([*sorted(asked), *watched])
        changed = [
            events.UnitsElsewhere(agent_id=name, unit_numbers=found.get(name, ()))
            for name in watched
            if name in state.agents and state.agents[name].elsewhere != found.get(name, ())
        ]
        self._watched = (self._watched - set(watched) - asked) | set(found)
        return [*changed, *(_with(one, asked, found) for one in told)]


def _signs_in(state: State, told: events.AgentSeen) -> bool:
    agent = state.agents.get(told.agent_id)
    return told.presence != "offline" and (agent is None or agent.session_no < told.session_no)


def _with(one: events.Input, asked: set[str], found: dict[str, tuple[int, ...]]) -> events.Input:
    if isinstance(one, events.AgentSeen) and one.agent_id in asked:
        return msgspec.structs.replace(one, elsewhere=found.get(one.agent_id, ()))
    return one
