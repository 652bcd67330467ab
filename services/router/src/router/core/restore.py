"""The state of a shard from what was kept of it."""

from collections.abc import Iterator, Mapping, Sequence

from router.core.index.agents import count_staffed, place_agent, settle
from router.core.index.state import State, set_timer
from router.core.index.waiting import demand_number, moments, need_now, put_all_waiting, wake_at
from router.core.lifecycle.binding import follow_queue
from router.core.lifecycle.queue import study
from router.core.model.agent import Agent
from router.core.model.contact import CUT, Contact, ContactState
from router.core.model.decisions import Output
from router.core.model.queue import Queue
from router.core.rules.criteria import named_agents

SLICE = 100
"""Agents or contacts that are taken up between two turns of `restoring`: a few milliseconds of work."""

NOWHERE: dict[str, tuple[int, ...]] = {}


def restore(
    *,
    queues: Sequence[Queue],
    agents: Sequence[Agent],
    contacts: Sequence[Contact],
    ended: dict[str, int],
    now_ms: int,
    elsewhere: Mapping[str, tuple[int, ...]] = NOWHERE,
) -> State:
    """Indexes, timers and notes come from the values. Everybody looks for contacts in the first step.

    A queue may be newer than what is kept of its contacts: they follow it here, and what that decides is said in the first
    step. `elsewhere`: units of the agents that contacts of other shards take.
    """
    state = State(now_ms=now_ms, ended=ended)
    for _ in restoring(state, queues=queues, agents=agents, contacts=contacts, elsewhere=elsewhere):
        pass
    return state


def restoring(
    state: State,
    *,
    queues: Sequence[Queue],
    agents: Sequence[Agent],
    contacts: Sequence[Contact],
    elsewhere: Mapping[str, tuple[int, ...]] = NOWHERE,
) -> Iterator[None]:
    """The same slice by slice, so that whoever turns it can do something else in between: the state is whole after the last.

    The work grows with the number of agents and contacts, however much their needs differ.
    """
    state.queues = {one.queue_id: one for one in queues}
    study(state)
    for queue in queues:
        state.named.update(named_agents(queue.need))
    for queue_id, channel in sorted({(one.queue_id, one.channel) for one in contacts}):
        demand_number(state, state.queues[queue_id], channel)
    for number, contact in enumerate(contacts):
        # whoever is asked for by name has a profile of their own, which is cheap only while there are no groups
        state.named.update(named_agents(need_now(state, contact)))
        if number % SLICE == SLICE - 1:
            yield
    for number, agent in enumerate(agents):
        agent.elsewhere = elsewhere.get(agent.agent_id, ())
        _restore_agent(state, agent)
        if number % SLICE == SLICE - 1:
            yield
    in_order = sorted(contacts, key=lambda one: one.contact_id)
    decided: list[Output] = []
    for start in range(0, len(in_order), SLICE):
        some = in_order[start : start + SLICE]
        for contact in some:
            _restore_contact(state, contact)
        waiting = [one for one in some if one.state is ContactState.QUEUED]
        for contact in waiting:
            follow_queue(state, contact, decided)
        put_all_waiting(state, waiting)
        yield
    state.said[:] = decided


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
    place_agent(state, agent)
    if agent.agent_id in state.slots:
        state.dirty_agents[agent.agent_id] = None


def _restore_contact(state: State, contact: Contact) -> None:
    state.contacts[contact.contact_id] = contact
    for at_ms in moments(state.queues[contact.queue_id], contact):
        wake_at(state, contact, at_ms)  # also of one that is with an agent now: it may have to wait again
    if contact.due_ms is not None:
        wake_at(state, contact, contact.due_ms)
    if contact.scores_due_ms is not None:
        wake_at(state, contact, contact.scores_due_ms)
    for offer in contact.offers:
        if offer.expires_ms is not None:
            wake_at(state, contact, offer.expires_ms)
    for offer in contact.offers if contact.holding is None else [contact.holding]:
        if offer.unit_numbers and offer.unit_numbers[-1] > state.agents[offer.agent_id].units and not offer.over:
            offer.over = CUT  # kept by a release that did not write down why
    for until_ms in contact.declined.values():
        wake_at(state, contact, until_ms)
