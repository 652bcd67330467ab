"""Which of the able agents with room is asked. Every order ends in the agent's id."""

from router.core.index.agents import able_profiles, first_agent, place_agent
from router.core.index.state import IDLE, LOAD, TURN, Group, Profile, State
from router.core.index.waiting import demand_number
from router.core.model.agent import Agent
from router.core.model.contact import Contact
from router.core.model.queue import Queue
from router.core.rules.capacity import obstacle
from router.core.rules.criteria import both, skills_of

KEPT_IN = {"round_robin": TURN, "least_loaded": LOAD}
"""Choices that need an order of their own among the agents of a profile."""


def choose(state: State, contact: Contact, group: Group) -> Agent | None:
    """The agent to be asked for the contact, by the queue's choice; None when nobody able has room."""
    queue = state.queues[contact.queue_id]
    able = group.able
    if queue.policy.headroom is not None:
        able = leave_headroom(state, queue, able)
    unwanted = contact.declined
    if contact.offers:
        unwanted = {**unwanted, **{offer.agent_id: 0 for offer in contact.offers}}
    while True:
        found = None
        if contact.scores:
            found = _best_scored(state, contact, group, able, unwanted)
        if found is None:
            found = _first_in_order(state, queue, group, able, unwanted)
        if found is None:
            return None
        agent = state.agents[found]
        demand = state.demands[group.demand]
        if not (agent.is_timed or demand.fair is not None) or not obstacle(agent, demand, state.now_ms):
            return agent
        place_agent(state, agent)  # time took its room away; look again


def _first_in_order(state: State, queue: Queue, group: Group, able: int, unwanted: dict[str, int]) -> str | None:
    method = queue.policy.choice.method
    order = KEPT_IN.get(method, IDLE)
    ranked = method in ("most_skilled", "best_fit")
    best: tuple[int, int, str] | None = None
    for room, profiles in state.open.items():
        if not room >> group.demand & 1:
            continue
        left = profiles & able
        while left:
            low = left & -left
            left ^= low
            profile = state.profile_at[low.bit_length() - 1]
            first = first_agent(state, profile, room, order, unwanted)
            if first is not None:
                key = (rank(queue, group, profile) if ranked else 0, first[0], first[1])
                if best is None or key < best:
                    best = key
    if best is not None and order == LOAD:
        return _longest_idle_of_load(state, group, able, unwanted, best[1])
    return None if best is None else best[2]


def _longest_idle_of_load(state: State, group: Group, able: int, unwanted: dict[str, int], load: int) -> str:
    """Among those who have as little to do as the best one, the one who has waited longest for more."""
    found: list[tuple[int, str]] = []
    for agent_id, (profile, room, _, ranks) in state.slots.items():
        fits = room >> group.demand & 1 and able >> profile.no & 1
        if fits and ranks[LOAD] == load and agent_id not in unwanted:
            found.append((ranks[IDLE], agent_id))
    return min(found)[1]


def rank(queue: Queue, group: Group, profile: Profile) -> int:
    """How well the profile's skills suit the group, the smaller the better."""
    known = group.ranks.get(profile.no)
    if known is not None:
        return known
    levels = dict(profile.traits.skills)
    choice = queue.policy.choice
    if choice.method == "best_fit":
        value = sum(levels.get(skill, 0) * weight for skill, weight in choice.weights.items())
    else:
        value = sum(levels.get(skill, 0) for skill in skills_of(both(queue.need, group.own_need)))
    group.ranks[profile.no] = -value
    return -value


def _best_scored(state: State, contact: Contact, group: Group, able: int, unwanted: dict[str, int]) -> str | None:
    best: tuple[int, int, str] | None = None
    for agent_id, score in (contact.scores or {}).items():
        slot = state.slots.get(agent_id)
        if slot is None or agent_id in unwanted or not slot[1] >> group.demand & 1 or not able >> slot[0].no & 1:
            continue
        key = (-score, slot[3][IDLE], agent_id)
        if best is None or key < best:
            best = key
    return None if best is None else best[2]


def may_spare(state: State, group: Group, profile: Profile) -> bool:
    """Whether agents of the profile may be asked for the group's contacts, headroom being kept."""
    headroom = state.queues[group.queue_id].policy.headroom
    return headroom is None or bool(spared(state, group) >> profile.no & 1)


def spared(state: State, group: Group) -> int:
    """The profiles whose agents may be asked for the group's contacts, headroom being kept."""
    queue = state.queues[group.queue_id]
    return group.able if queue.policy.headroom is None else leave_headroom(state, queue, group.able)


def leave_headroom(state: State, queue: Queue, able: int) -> int:
    """The profiles whose agents may be asked without the kept-free number running short."""
    headroom = queue.policy.headroom
    assert headroom is not None, queue
    kept_for = state.queues.get(headroom.queue)
    if kept_for is None:
        return able
    wanted = able_profiles(state, kept_for.need, kept_for.pool)
    demand = demand_number(state, kept_for, headroom.channel)
    free = 0
    for room, profiles in state.open.items():
        if room >> demand & 1:
            left = profiles & wanted
            while left:
                low = left & -left
                left ^= low
                free += state.profile_at[low.bit_length() - 1].placed[room]
    return able if free > headroom.agents else able & ~wanted
