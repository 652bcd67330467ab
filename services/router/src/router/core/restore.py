"""The state of a shard from what was kept of it."""

from collections.abc import Sequence

from router.core.binding import follow_queue
from router.core.outputs import Output
from router.core.queues import study
from router.core.staff import count_staffed, place_agent, settle
from router.core.state import State, set_timer
from router.core.values import Agent, Contact, ContactState, Queue
from router.core.waiting import demand_number, moments, put_all_waiting, wake_at


def restore(
    *,
    queues: Sequence[Queue],
    agents: Sequence[Agent],
    contacts: Sequence[Contact],
    ended: dict[str, int],
    now_ms: int,
) -> State:
    """Indexes, timers and notes come from the values. Everybody looks for contacts in the first step.

    A queue may be newer than what is kept of its contacts: they follow it here, and what that decides is said in the first
    step.
    """
    state = State(now_ms=now_ms, ended=ended)
    state.queues = {one.queue_id: one for one in queues}
    study(state)
    for queue_id, channel in sorted({(one.queue_id, one.channel) for one in contacts}):
        demand_number(state, state.queues[queue_id], channel)
    for agent in agents:
        _restore_agent(state, agent)
    for contact in contacts:
        _restore_contact(state, contact)
    waiting = sorted((one for one in contacts if one.state is ContactState.QUEUED), key=lambda one: one.contact_id)
    decided: list[Output] = []
    for contact in waiting:
        follow_queue(state, contact, decided)
    put_all_waiting(state, waiting)
    state.said[:] = decided
    return state


def _restore_agent(state: State, agent: Agent) -> None:
    state.agents[agent.agent_id] = agent
    state.turns = max(state.turns, agent.turn)
    settle(state, agent)
    if agent.presence != "offline":
        count_staffed(state, state.profile_of[agent.agent_id], 1)
    if agent.premium_from_ms is not None:
        set_timer(state, agent.premium_from_ms, "agent", agent.agent_id)
    if agent.lapses_ms is not None:
        set_timer(state, agent.lapses_ms, "agent", agent.agent_id)
    if agent.resuming:
        state.resuming[agent.agent_id] = None
    denial = agent.told_denial
    place_agent(state, agent)
    agent.told_denial = denial  # what is to be said of it is said in the first step
    if agent.agent_id in state.slots:
        state.dirty_agents[agent.agent_id] = None


def _restore_contact(state: State, contact: Contact) -> None:
    state.contacts[contact.contact_id] = contact
    for at_ms in moments(state.queues[contact.queue_id], contact):
        wake_at(state, contact, at_ms)  # also of one that is with an agent now: it may have to wait again
    if contact.due_ms is not None:
        wake_at(state, contact, contact.due_ms)
    for offer in contact.offers:
        if offer.expires_ms is not None:
            wake_at(state, contact, offer.expires_ms)
    for until_ms in contact.declined.values():
        wake_at(state, contact, until_ms)
