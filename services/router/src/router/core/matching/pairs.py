"""Who gets whom: the first contact in order, and the agent of its queue's choice.

Nobody waited beside an able agent with room before this step, so only what the step touched can match now: the groups that
contacts came to, and the agents that came to be free. A contact that nobody can serve delays no other.
"""

from router.core.index.state import Group, Profile, State
from router.core.index.waiting import head, is_true, rank_now
from router.core.matching.selection import choose, may_spare
from router.core.model.agent import Agent
from router.core.model.contact import Contact
from router.core.rules.criteria import skills_of
from router.core.rules.order import Entry

Rank = tuple[int, int, int, int, str]


def next_match(state: State) -> tuple[Contact, Agent] | None:
    """The next contact to be offered and the agent to offer it to; None when nothing more can match."""
    while state.dirty_agents or state.dirty_groups:
        if state.is_plain and len(state.dirty_agents) + len(state.dirty_groups) == 1:
            found = _only_candidate(state)
        else:
            found = _first_candidate(state)
        if found is not None:
            return found
    return None


def _only_candidate(state: State) -> tuple[Contact, Agent] | None:
    """One group or one agent changed, as nearly always: nothing to compare with."""
    if state.dirty_groups:
        (number,) = state.dirty_groups
        group = state.group_at[number]
        match = _match_in(state, group)
        if match is None:
            state.dirty_groups.clear()
        return match
    (agent_id,) = state.dirty_agents
    candidate = first_contact_for(state, agent_id)
    if candidate is not None:
        contact, group = candidate
        agent = choose(state, contact, group)
        if agent is not None:
            return contact, agent
    state.dirty_agents.clear()
    return None


def _first_candidate(state: State) -> tuple[Contact, Agent] | None:
    """Several changed: the first contact in order among all candidates that somebody can take."""
    candidates: dict[str, tuple[Rank, Contact, Group]] = {}
    for agent_id in list(state.dirty_agents):
        candidate = first_contact_for(state, agent_id)
        if candidate is None:
            del state.dirty_agents[agent_id]
        else:
            contact, group = candidate
            profile = state.slots[agent_id][0]
            candidates[contact.contact_id] = (_rank(state, group, contact, profile), contact, group)
    someone = 0
    for profiles in state.open.values():
        someone |= profiles
    for number in list(state.dirty_groups):
        group = state.group_at[number]
        match = _match_in(state, group) if group.able & someone else None
        if match is None:
            del state.dirty_groups[number]
        else:
            contact, agent = match
            placed = state.slots[agent.agent_id][0]
            candidates.setdefault(contact.contact_id, (_rank(state, group, contact, placed), contact, group))
    for _, contact, group in sorted(candidates.values(), key=lambda one: one[0]):
        agent_found = choose(state, contact, group)
        if agent_found is not None:
            return contact, agent_found
    state.dirty_agents.clear()
    return None


def first_contact_for(state: State, agent_id: str) -> tuple[Contact, Group] | None:
    """The contact that the agent should get, where it is found with room now."""
    slot = state.slots.get(agent_id)
    return None if slot is None else first_contact(state, slot[0], slot[1], agent_id)


def first_contact(state: State, profile: Profile, room: int, agent_id: str) -> tuple[Contact, Group] | None:
    """The first contact in order of all that an agent of the profile with this room can serve, in whatever queue."""
    left, plain = profile.able & state.waiting, state.is_plain
    best: tuple[Entry | Rank, Contact, Group] | None = None
    while left:
        low = left & -left
        left ^= low
        group = state.group_at[low.bit_length() - 1]
        if not room >> group.demand & 1 or group.held_until_ms is not None:
            continue
        if state.keeps_headroom and not may_spare(state, group, profile):
            continue
        contact = head(state, group, agent_id=agent_id)
        if contact is None:
            continue
        key: Entry | Rank = state.place_of[contact.contact_id][1] if plain else _rank(state, group, contact, profile)
        if best is None or key < best[0]:
            best = (key, contact, group)
    return None if best is None else (best[1], best[2])


def _rank(state: State, group: Group, contact: Contact, profile: Profile) -> Rank:
    """What compares contacts for an agent of the profile; the smallest goes first."""
    entry = state.place_of[contact.contact_id][1]
    if state.is_plain:
        return (0, *entry)
    own = 0
    queue = state.queues[group.queue_id]
    if queue.policy.order.own_skill_first:
        skills = skills_of(queue.need) or skills_of(group.own_need)
        own = -dict(profile.traits.skills).get(skills[0], 0) if skills else 0
    return (own, *rank_now(state, group, entry, state.now_ms))


def _match_in(state: State, group: Group) -> tuple[Contact, Agent] | None:
    """The first contact of the group that somebody can take. Contacts that were declined may have nobody left."""
    if group.held_until_ms is not None or group.waiting == 0:
        return None
    for contact in in_order(state, group):
        agent = choose(state, contact, group)
        if agent is not None:
            return contact, agent
    return None


def in_order(state: State, group: Group) -> list[Contact]:
    """The group's contacts in order, as far as the first one that nobody declined: after it all fare alike."""
    first = head(state, group, agent_id="")
    if first is None or not first.declined:
        return [] if first is None else [first]
    waiting = sorted({entry for entry in group.heap if is_true(state, group, entry)})
    found: list[Contact] = []
    for entry in waiting:
        contact = state.contacts[entry[3]]
        if contact.scores_due_ms is None:
            found.append(contact)
            if not contact.declined:
                break
    return found


def look_at_headroom(state: State) -> None:
    """Somebody became free: others may be asked now for contacts that had to leave headroom."""
    for group in state.groups.values():
        if group.waiting and state.queues[group.queue_id].policy.headroom is not None:
            state.dirty_groups[group.no] = None
