"""The two everyday cases, decided without the detour over the indexes: a contact comes where nobody waits for the same, and
an agent who had no room becomes free. What they decide is what `pairs` would: nobody waited beside an able agent before.
"""

from router.core.index.agents import place_agent, room_of
from router.core.index.state import State
from router.core.index.waiting import group_for, put_waiting
from router.core.lifecycle.changes import touch_agent
from router.core.lifecycle.contact import offer, offer_at
from router.core.matching.pairs import first_contact
from router.core.matching.selection import choose
from router.core.model.agent import Agent
from router.core.model.contact import Contact
from router.core.model.decisions import Output
from router.core.rules.order import entry_of


def decide_everyday(state: State, decided: list[Output]) -> None:
    """Offer the newcomer, or to the agent who became free; else let them wait where `pairs` finds them."""
    newcomer, freed = state.newcomer, state.freed
    state.newcomer = state.freed = None
    alone = not (state.dirty_agents or state.dirty_groups or state.keeps_headroom) and state.is_plain
    if newcomer is not None:
        _receive(state, newcomer, decided, alone=alone and freed is None)
    if freed is not None:
        _occupy(state, freed, decided, alone=alone and newcomer is None)


def _receive(state: State, contact: Contact, decided: list[Output], *, alone: bool) -> None:
    group = group_for(state, contact)
    if alone and group.waiting == 0 and group.held_until_ms is None:
        agent = choose(state, contact, group)
        if agent is not None:
            entry = entry_of(state.queues[contact.queue_id], contact)
            offer_at(state, contact, agent, group, group.rate * state.now_ms - entry[1], decided)
            return
        put_waiting(state, contact)
        state.dirty_groups.pop(group.no, None)  # nobody able has room
        return
    put_waiting(state, contact)


def _occupy(state: State, agent: Agent, decided: list[Output], *, alone: bool) -> None:
    if alone and agent.routing_state == "ready":
        room = room_of(state, agent)
        candidate = first_contact(state, state.profile_of[agent.agent_id], room, agent.agent_id) if room else None
        if candidate is not None:
            offer(state, candidate[0], agent, decided)
            return
        place_agent(state, agent)  # nobody waits for it
        return
    touch_agent(state, agent)
