"""The state of one shard: contacts, agents, timers, and the indexes that make a match cheap.

Waiting contacts lie in groups (same pool, requirements and units), available agents in profiles (same pool and
skills). Whether a profile may serve a group is worked out once per pair. Heaps are lazy: an entry counts only while it
still tells the truth, so a change never searches.
"""

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from router.core.values import Agent, Contact, ContactState, Queue

ENDED_REMEMBERED_MS = 300_000
ENDED_REMEMBERED_MAX = 100_000
"""Ended contacts that are remembered so that a repeated submission is ignored; older ones are looked up by the shell."""
HEAP_SLACK = 4
"""A lazy heap with this many times more entries than true ones is built anew."""

GroupKey = tuple[str, tuple[tuple[str, int], ...], int]
ProfileKey = tuple[str, tuple[tuple[str, int], ...]]
Order = tuple[int, int, str]


@dataclass(slots=True)
class Group:
    """Waiting contacts that ask for the same. `profiles`: who may serve them."""

    key: GroupKey
    heap: list[Order] = field(default_factory=list)
    waiting: int = 0
    profiles: list["Profile"] = field(default_factory=list)


@dataclass(slots=True)
class Profile:
    """Available agents who can do the same. `heaps`: by free units, entries (idle since, agent id)."""

    key: ProfileKey
    heaps: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)


@dataclass(slots=True)
class State:
    """Everything the core knows. `touched_*` is what changed since the shell last took note of it."""

    queues: dict[str, Queue] = field(default_factory=dict)
    contacts: dict[str, Contact] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    timers: list[tuple[int, str]] = field(default_factory=list)
    groups: dict[GroupKey, Group] = field(default_factory=dict)
    profiles: dict[ProfileKey, Profile] = field(default_factory=dict)
    slots: dict[str, tuple[Profile, int, int]] = field(default_factory=dict)
    dirty_contacts: dict[str, None] = field(default_factory=dict)
    dirty_agents: dict[str, None] = field(default_factory=dict)
    touched_contacts: dict[str, Contact] = field(default_factory=dict)
    touched_agents: dict[str, Agent] = field(default_factory=dict)


def next_due_ms(state: State) -> int | None:
    """When the core wants to be told of the time again."""
    return state.timers[0][0] if state.timers else None


def set_timer(state: State, contact_id: str, due_ms: int) -> None:
    """Look at the contact at `due_ms`; a contact that has nothing due then is passed over."""
    heappush(state.timers, (due_ms, contact_id))


def put_waiting(state: State, contact: Contact) -> None:
    """The contact is in state queued: let agents find it."""
    group = _group(state, contact)
    if len(group.heap) > HEAP_SLACK * (group.waiting + 16):
        orders = {order for order in group.heap if _is_waiting(state, order)}
        group.heap = sorted(orders)
    heappush(group.heap, contact.order)
    group.waiting += 1
    state.dirty_contacts[contact.contact_id] = None


def take_waiting(state: State, contact: Contact) -> None:
    """The contact leaves state queued; its heap entry dies by itself."""
    _group(state, contact).waiting -= 1


def head(state: State, group: Group, *, not_declined_by: str) -> Contact | None:
    """The first contact of the group that `not_declined_by` has not declined lately."""
    aside: list[Order] = []
    found: Contact | None = None
    while group.heap:
        order = group.heap[0]
        if not _is_waiting(state, order):
            heappop(group.heap)
            continue
        contact = state.contacts[order[2]]
        if not_declined_by not in contact.declined:
            found = contact
            break
        aside.append(heappop(group.heap))
    for order in aside:
        heappush(group.heap, order)
    return found


def place_agent(state: State, agent: Agent) -> None:
    """Let contacts find the agent if offers may be made to it, and hide it if not."""
    free = agent.free_units
    if agent.routing_state != "ready" or free == 0:
        state.slots.pop(agent.agent_id, None)
        return
    profile = _profile(state, (agent.pool, agent.skills))
    slot = (profile, free, agent.idle_since_ms)
    if state.slots.get(agent.agent_id) == slot:
        return
    state.slots[agent.agent_id] = slot
    heap = profile.heaps.setdefault(free, [])
    if len(heap) > HEAP_SLACK * (len(state.slots) + 16):
        heap[:] = [entry for entry in set(heap) if _is_there(state, profile, free, entry)]
        heapify(heap)
    heappush(heap, (agent.idle_since_ms, agent.agent_id))


def first_idle(state: State, profile: Profile, free: int, contact: Contact) -> tuple[int, str] | None:
    """The agent of the profile with `free` units who is idle longest and has not declined the contact."""
    heap = profile.heaps[free]
    aside: list[tuple[int, str]] = []
    found: tuple[int, str] | None = None
    while heap:
        entry = heap[0]
        if not _is_there(state, profile, free, entry):
            heappop(heap)
            continue
        if entry[1] not in contact.declined:
            found = entry
            break
        aside.append(heappop(heap))
    for entry in aside:
        heappush(heap, entry)
    return found


def remember_ended(state: State, contact_id: str, now_ms: int) -> None:
    """The contact is no longer live, but a repetition of it must still be known."""
    state.ended[contact_id] = now_ms
    while state.ended:
        oldest = next(iter(state.ended))
        if len(state.ended) <= ENDED_REMEMBERED_MAX and state.ended[oldest] > now_ms - ENDED_REMEMBERED_MS:
            break
        del state.ended[oldest]


def _is_waiting(state: State, order: Order) -> bool:
    contact = state.contacts.get(order[2])
    return contact is not None and contact.state is ContactState.QUEUED and contact.order == order


def _is_there(state: State, profile: Profile, free: int, entry: tuple[int, str]) -> bool:
    slot = state.slots.get(entry[1])
    return slot is not None and slot[0] is profile and slot[1] == free and slot[2] == entry[0]


def _group(state: State, contact: Contact) -> Group:
    key = (contact.pool, contact.requirements, contact.units)
    group = state.groups.get(key)
    if group is None:
        group = state.groups[key] = Group(key)
        for profile in state.profiles.values():
            _link(group, profile)
    return group


def _profile(state: State, key: ProfileKey) -> Profile:
    profile = state.profiles.get(key)
    if profile is None:
        profile = state.profiles[key] = Profile(key)
        for group in state.groups.values():
            _link(group, profile)
    return profile


def _link(group: Group, profile: Profile) -> None:
    if is_able(group.key[0], group.key[1], pool=profile.key[0], skills=dict(profile.key[1])):
        group.profiles.append(profile)
        profile.groups.append(group)


def is_able(wanted_pool: str, requirements: tuple[tuple[str, int], ...], *, pool: str, skills: dict[str, int]) -> bool:
    """Whether an agent of `pool` with `skills` meets every requirement."""
    return wanted_pool == pool and all(skills.get(skill, -1) >= level for skill, level in requirements)
