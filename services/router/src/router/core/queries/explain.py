"""Why a contact waits: for every agent what keeps it from being asked, the nearest to being asked first.

Looking changes nothing: who asks may ask as often as they like, and the core decides as if nobody had.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from common.contracts.policies import Need
from router.core.index.agents import able_profiles
from router.core.index.state import Group, State
from router.core.index.waiting import need_now, queue_need, score_now
from router.core.matching.selection import may_spare
from router.core.model.agent import Agent
from router.core.model.contact import Contact, ContactState
from router.core.rules.capacity import Demand, demand_of, obstacle
from router.core.rules.criteria import is_met, named_agents

AGENTS_MAX = 200
"""Agents in an explanation; the rest is counted by reason."""
LOOKED_AT_MAX = 5_000
"""Agents of the pool that are looked at, the first to have signed in first; the rest is counted as `not_looked_at`."""
NEARNESS = (
    "next_in_turn",
    "passed_on",
    "no_first_response",
    "declined",
    "headroom",
    "capacity",
    "channel_max",
    "fair_share",
    "resuming",
    "link_score",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`agents`: (agent, reason), at most `AGENTS_MAX`; `reasons`: how many agents there are for each reason.

    `need` is written as in policies; `unknown_agents`: whom the contact asks for by name and nobody has seen here.
    """

    queue: str
    state: str
    order: str
    score: int | None
    priority: int
    step: int | None
    steps: int
    need: dict[str, Any]
    unknown_agents: tuple[str, ...]
    agents: tuple[tuple[str, str], ...]
    reasons: dict[str, int]


def explain(state: State, contact: Contact) -> Explanation:
    """Everything about the contact at this moment. `next_in_turn`: the agent could have it, and is asked when it is its turn."""
    queue = state.queues[contact.queue_id]
    place = state.place_of.get(contact.contact_id)
    group = None if place is None else place[0]
    of_queue, need = queue_need(state, queue), need_now(state, contact)
    named = set(named_agents(need))
    demand = demand_of(queue, contact.channel)
    able = able_profiles(state, need, contact.pool) if group is None else group.able
    found: list[tuple[int, str, str]] = []
    pool = (agent for agent in state.agents.values() if agent.pool == contact.pool)
    for agent in islice(pool, LOOKED_AT_MAX):
        profile = state.profile_of[agent.agent_id]
        if not (able >> profile.no & 1 or (agent.agent_id in named and _is_meant(state, need, agent))):
            reason = "need" if is_met(of_queue, profile.traits) else "queue_need"
        else:
            reason = _hindrance(state, contact, agent, demand, group)
        near = NEARNESS.index(reason) if reason in NEARNESS else len(NEARNESS)
        found.append((near, agent.agent_id, reason))
    reasons: dict[str, int] = {}
    for _, _, reason in found:
        reasons[reason] = reasons.get(reason, 0) + 1
    rest = sum(1 for _ in pool)
    if rest:
        reasons["not_looked_at"] = rest
    asked_for = {*named, contact.named_agent, contact.last_agent} - {""}
    return Explanation(
        queue=contact.queue_id,
        state=contact.state.value,
        order=queue.policy.order.method,
        score=score_now(state, contact, state.now_ms) if contact.state is ContactState.QUEUED else None,
        priority=contact.priority,
        step=contact.step + 1 if contact.step < len(contact.steps) else None,
        steps=len(contact.steps),
        need=msgspec.to_builtins(need),
        unknown_agents=tuple(sorted(asked_for - state.agents.keys())),
        agents=tuple((agent_id, reason) for _, agent_id, reason in sorted(found)[:AGENTS_MAX]),
        reasons=dict(sorted(reasons.items())),
    )


def _is_meant(state: State, need: Need, agent: Agent) -> bool:
    """Whether the need that asks for the agent by name is met, also where no contact waits for that name yet."""
    return is_met(need, state.profile_of[agent.agent_id].traits._replace(agent=agent.agent_id))


def _hindrance(state: State, contact: Contact, agent: Agent, demand: Demand, group: Group | None) -> str:
    """What keeps an able agent from being asked."""
    if agent.routing_state != "ready":
        return agent.routing_state
    if agent.agent_id in contact.declined:
        return contact.aside.get(agent.agent_id, "declined")
    why = obstacle(agent, demand, state.now_ms)
    if not why and group is not None and not may_spare(state, group, state.profile_of[agent.agent_id]):
        return "headroom"
    return why or "next_in_turn"
