"""Agents: profiles of those who can do the same, and where those with room are found."""

from heapq import heapify, heappop, heappush

from common.contracts.policies import Need
from router.core.index.crews import count_agent
from router.core.index.state import HEAP_SLACK, Profile, State, free_number, set_timer
from router.core.model import decisions
from router.core.model.agent import Agent
from router.core.model.decisions import Output
from router.core.rules.capacity import ANYTHING, DENIALS, hours_obstacle, is_denial, lapses_ms, obstacle, refilled_ms
from router.core.rules.criteria import Traits, is_met, named_agents

NAMED_MAX = 50_000
"""Names that contacts ask for and that are remembered; beyond it only those that some group asks for still are."""
IN_HAND, PREMIUM = 1 << 44, 1 << 60
"""In the order of the longest idle: who has less in hand comes first, whatever the times, and premium hours come last."""
EMPTY_PROFILES_MAX = 256
"""Profiles without a member that are kept; beyond it all of them go."""


def settle(state: State, agent: Agent) -> None:
    """The agent's traits, capacity or presence may have changed: move it to the profile where it belongs, and count it there."""
    traits = Traits(
        pool=agent.pool,
        skills=agent.skills,
        languages=agent.languages,
        region=agent.region,
        attributes=agent.attributes,
        agent=agent.agent_id if agent.agent_id in state.named else "",
    )
    before = state.profile_of.get(agent.agent_id)
    profile = state.profiles.get(traits)
    if profile is None:
        profile = _new_profile(state, traits)
    if before is not profile:
        if before is not None:
            before.members -= 1
        profile.members += 1
        state.profile_of[agent.agent_id] = profile
    count_agent(state, agent)


def count_staffed(state: State, profile: Profile, change: int) -> None:
    """One agent of the profile more, or fewer, is signed in."""
    profile.staffed += change
    if profile.staffed == 0:
        state.staffed &= ~(1 << profile.no)
    else:
        state.staffed |= 1 << profile.no


def place_agent(state: State, agent: Agent) -> None:
    """Let contacts find the agent if offers may be made to it, and hide it if not."""
    room = room_of(state, agent) if agent.routing_state == "ready" else 0
    before = state.slots.get(agent.agent_id)
    if room == 0:
        if before is not None:
            del state.slots[agent.agent_id]
            state.dirty_agents.pop(agent.agent_id, None)
            _leave(state, before[0], before[1])
        return
    profile = state.profile_of[agent.agent_id]
    idle = agent.idle_since_ms + len(agent.work) * IN_HAND
    if agent.premium_from_ms is not None and state.now_ms >= agent.premium_from_ms:
        idle += PREMIUM  # whoever costs a premium is asked last
    ranks = (idle, agent.turn, agent.used_units * 1_000 // agent.units if agent.work else 0)
    if before is not None:
        if before[0] is profile and before[1] == room and before[3] == ranks:
            return
        _leave(state, before[0], before[1])
    state.placings += 1
    state.slots[agent.agent_id] = (profile, room, state.placings, ranks)
    count = profile.placed.get(room, 0)
    profile.placed[room] = count + 1
    if count == 0:
        state.open[room] = state.open.get(room, 0) | 1 << profile.no
    for order in state.orders:
        heap = profile.heaps.setdefault((room, order), [])
        if len(heap) > HEAP_SLACK * (count + 16):
            heap[:] = [entry for entry in heap if _is_there(state, entry)]
            heapify(heap)
        heappush(heap, (ranks[order], agent.agent_id, state.placings))


def place_everybody(state: State) -> None:
    """What decides about room or order changed for all."""
    for agent in state.agents.values():
        slot = state.slots.pop(agent.agent_id, None)
        if slot is not None:
            _leave(state, slot[0], slot[1])
        if agent.routing_state == "ready":
            place_agent(state, agent)
            state.dirty_agents[agent.agent_id] = None


def first_agent(
    state: State, profile: Profile, room: int, order: int, unwanted: dict[str, int]
) -> tuple[int, str] | None:
    """The first agent of the profile with this room in this order who is not unwanted."""
    heap = profile.heaps.get((room, order))
    aside: list[tuple[int, str, int]] = []
    found: tuple[int, str] | None = None
    while heap:
        entry = heap[0]
        slot = state.slots.get(entry[1])
        if slot is None or slot[2] != entry[2]:
            heappop(heap)
            continue
        if entry[1] not in unwanted:
            found = (entry[0], entry[1])
            break
        aside.append(heappop(heap))
    for entry in aside:
        heappush(heap, entry)  # type: ignore[arg-type] # a heap that gave entries is there
    return found


def room_of(state: State, agent: Agent) -> int:
    """The demands for which the agent has room, a bit each. What keeps it from all of its pool is said at the end of the step."""
    if len(state.demands) == 1 and not agent.is_timed and not agent.told_denial and state.demands[0].fair is None:
        why = obstacle(agent, state.demands[0], state.now_ms)
        if agent.agent_id not in state.denials and not (why and is_denial(agent, why)):
            return 0 if why else 1
    asked = state.asked.get(agent.pool, 0)
    room, bit, denial = 0, 1, ""
    next_lapse: int | None = None
    now_ms = state.now_ms
    for demand in state.demands:
        why = obstacle(agent, demand, now_ms)
        if not why:
            room |= bit
            lapses = lapses_ms(agent, demand) if agent.is_timed else None
            if lapses is not None and (next_lapse is None or lapses < next_lapse):
                next_lapse = lapses
        else:
            if why == "fair_share" and demand.fair is not None:
                set_timer(state, refilled_ms(agent, demand.fair_queue, demand.fair, now_ms), "agent", agent.agent_id)
            if bit & asked and is_denial(agent, why) and (not denial or DENIALS[why] < DENIALS[denial]):
                denial = why
        bit <<= 1
    if asked == 0 and agent.is_timed:
        denial = hours_obstacle(agent, ANYTHING, now_ms)
        lapses = None if denial else lapses_ms(agent, ANYTHING)
        if lapses is not None and (next_lapse is None or lapses < next_lapse):
            next_lapse = lapses
    if next_lapse is not None and next_lapse != agent.lapses_ms:
        agent.lapses_ms = next_lapse
        set_timer(state, next_lapse, "agent", agent.agent_id)
    if room & asked:
        denial = ""
    elif denial == "hours_denied" and agent.denied_reason:
        denial = agent.denied_reason
    if denial != agent.told_denial or agent.agent_id in state.denials:
        state.denials[agent.agent_id] = denial
    return room


def say_denials(state: State, decided: list[Output]) -> None:
    """Say of each agent who is ready what keeps them from every contact, where that is not what was said last."""
    for agent_id in sorted(state.denials):
        agent, reason = state.agents[agent_id], state.denials[agent_id]
        if agent.routing_state != "ready" or reason == agent.told_denial:
            continue
        agent.told_denial = reason
        state.touched_agents[agent_id] = agent
        decided.append(
            decisions.OfferDenied(agent_id=agent_id, pool=agent.pool, session_no=agent.session_no, reason=reason)
        )
    state.denials.clear()


def name_agents(state: State, need: Need) -> None:
    """Agents who are asked for by name get profiles of their own."""
    if len(state.named) > NAMED_MAX:
        asked = [group.need for group in state.groups.values()] + [queue.need for queue in state.queues.values()]
        state.named = {name for one in asked for name in named_agents(one)}
    for name in named_agents(need):
        if name not in state.named:
            state.named.add(name)
            agent = state.agents.get(name)
            if agent is not None:
                resettle(state, agent)


def resettle(state: State, agent: Agent) -> None:
    """Move an agent to another profile with all that counts it."""
    signed_in = agent.presence != "offline"
    before = state.profile_of.get(agent.agent_id)
    slot = state.slots.pop(agent.agent_id, None)
    if slot is not None:
        _leave(state, slot[0], slot[1])
    if before is not None and signed_in:
        count_staffed(state, before, -1)
    settle(state, agent)
    if signed_in:
        count_staffed(state, state.profile_of[agent.agent_id], 1)
    place_agent(state, agent)


def able_profiles(state: State, need: Need, pool: str) -> int:
    """The profiles of the pool that meet the need, a bit each."""
    return _among(state, need, state.traits.get(("pool", pool), {}).get(0, 0))


def _among(state: State, need: Need, able: int) -> int:
    """Those of `able` that meet the need; the same question as `is_met`, for all profiles at once."""
    if need.skill:
        having = 0
        for level, mask in state.traits.get(("skill", need.skill), {}).items():
            if need.min_level <= level <= need.max_level:
                having |= mask
        able &= having
    for kind, name in (("language", need.language), ("region", need.region), ("agent", need.agent)):
        if name:
            able &= state.traits.get((kind, name), {}).get(0, 0)
    if need.attribute:
        able &= state.traits.get(("attribute", f"{need.attribute}={need.value}"), {}).get(0, 0)
    for part in need.all:
        able = _among(state, part, able)
    if need.any:
        some = 0
        for part in need.any:
            some |= _among(state, part, able)
        able = some
    if need.not_ is not None:
        able &= ~_among(state, need.not_, able)
    return able


def _traits_of(traits: Traits) -> list[tuple[str, str, int]]:
    """(kind, name, level) of everything that a need can ask for."""
    found = [("pool", traits.pool, 0), ("region", traits.region, 0), ("agent", traits.agent, 0)]
    found += [("skill", skill, level) for skill, level in traits.skills]
    found += [("language", language, 0) for language in traits.languages]
    found += [("attribute", f"{name}={value}", 0) for name, value in traits.attributes]
    return found


def _new_profile(state: State, traits: Traits) -> Profile:
    if len(state.profiles) > len(state.agents) + EMPTY_PROFILES_MAX:
        for empty in [one for one in state.profiles.values() if one.members == 0]:
            _drop_profile(state, empty)
    profile = Profile(no=free_number(state.profile_numbers, len(state.profiles)), traits=traits)
    state.profiles[traits] = profile
    state.profile_at[profile.no] = profile
    bit = 1 << profile.no
    for kind, name, level in _traits_of(traits):
        masks = state.traits.setdefault((kind, name), {})
        masks[level] = masks.get(level, 0) | bit
    for group in state.groups.values():
        queue = state.queues[group.queue_id]
        if queue.pool == traits.pool and is_met(group.need, traits):
            group.able |= bit
            profile.able |= 1 << group.no
    return profile


def _leave(state: State, profile: Profile, room: int) -> None:
    profile.placed[room] -= 1
    if profile.placed[room] == 0:
        state.open[room] &= ~(1 << profile.no)
        if state.open[room] == 0:
            del state.open[room]


def _is_there(state: State, entry: tuple[int, str, int]) -> bool:
    slot = state.slots.get(entry[1])
    return slot is not None and slot[2] == entry[2]


def _drop_profile(state: State, profile: Profile) -> None:
    bit = 1 << profile.no
    for group in state.groups.values():
        group.able &= ~bit
        group.ranks.pop(profile.no, None)
    for kind, name, level in _traits_of(profile.traits):
        state.traits[kind, name][level] &= ~bit
    state.staffed &= ~bit
    del state.profiles[profile.traits]
    del state.profile_at[profile.no]
    state.profile_numbers.append(profile.no)
