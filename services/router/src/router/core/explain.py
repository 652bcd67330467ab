"""Why a contact waits: for every agent what keeps it from being asked, the nearest to being asked first."""

from dataclasses import dataclass

from router.core.needs import is_met
from router.core.room import obstacle
from router.core.staff import able_profiles
from router.core.state import State
from router.core.values import Contact, ContactState
from router.core.waiting import demand_number, need_now, score_now

AGENTS_MAX = 200
"""Agents in an explanation; the rest is counted by reason."""
NEARNESS = ("next_in_turn", "declined", "capacity", "channel_max", "fair_share", "resuming", "link_score")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`agents`: (agent, reason), at most `AGENTS_MAX`; `reasons`: how many agents there are for each reason."""

    queue: str
    state: str
    order: str
    score: int | None
    priority: int
    step: int | None
    steps: int
    need: str
    agents: tuple[tuple[str, str], ...]
    reasons: dict[str, int]


def explain(state: State, contact: Contact) -> Explanation:
    """Everything about the contact at this moment. `next_in_turn`: the agent could have it, and is asked when it is its turn."""
    queue = state.queues[contact.queue_id]
    waits = contact.state is ContactState.QUEUED
    need = need_now(state, contact)
    demand = state.demands[demand_number(state, queue, contact.channel)]
    able = able_profiles(state, need, contact.pool)
    found: list[tuple[int, str, str]] = []
    for agent in state.agents.values():
        profile = state.profile_of[agent.agent_id]
        if agent.pool != contact.pool:
            continue
        if not able >> profile.no & 1:
            reason = "need" if is_met(queue.need, profile.traits) else "queue_need"
        elif agent.routing_state != "ready":
            reason = agent.routing_state
        elif agent.agent_id in contact.declined:
            reason = "declined"
        else:
            reason = obstacle(agent, demand, state.now_ms) or "next_in_turn"
        near = NEARNESS.index(reason) if reason in NEARNESS else len(NEARNESS)
        found.append((near, agent.agent_id, reason))
    reasons: dict[str, int] = {}
    for _, _, reason in found:
        reasons[reason] = reasons.get(reason, 0) + 1
    return Explanation(
        queue=contact.queue_id,
        state=contact.state.value,
        order=queue.policy.order.method,
        score=score_now(state, contact, state.now_ms) if waits else None,
        priority=contact.priority,
        step=contact.step + 1 if contact.step < len(contact.steps) else None,
        steps=len(contact.steps),
        need=str(need),
        agents=tuple((agent_id, reason) for _, agent_id, reason in sorted(found)[:AGENTS_MAX]),
        reasons=dict(sorted(reasons.items())),
    )
