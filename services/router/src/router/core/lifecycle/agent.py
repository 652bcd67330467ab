"""What agents are: the latest picture of each, and the consequences for what it was offered and holds."""

from router.core.index.agents import count_staffed, settle
from router.core.index.state import State, set_timer
from router.core.index.waiting import wake_at
from router.core.lifecycle.changes import attempted, move, rescind, set_routing_state, touch_agent
from router.core.lifecycle.contact import give_up_resuming
from router.core.matching.steps import skip_unstaffed
from router.core.model import decisions, events
from router.core.model.agent import Agent
from router.core.model.contact import CUT, HELD, Contact, ContactState
from router.core.model.decisions import Output

PICTURE = (
    "pool",
    "session_no",
    "seq",
    "presence",
    "skills",
    "units",
    "languages",
    "region",
    "attributes",
    "channel_max",
    "link_score",
    "auto_accept",
    "offer_extra_ms",
    "shift_ends_ms",
    "break_due_ms",
    "premium_from_ms",
    "denied_from_ms",
    "denied_reason",
)


def see_agent(state: State, told: events.AgentSeen, decided: list[Output]) -> None:
    """Take the latest picture of an agent; draw the consequences for what it was offered and holds."""
    agent = state.agents.get(told.agent_id)
    if agent is not None and (told.session_no, told.seq) <= (agent.session_no, agent.seq):
        return
    new_session = agent is None or told.session_no != agent.session_no
    was_available = agent is not None and agent.presence == "available"
    was_there = agent is not None and agent.presence != "offline"
    if agent is None:
        agent = Agent(
            agent_id=told.agent_id,
            routing_state="offline",
            idle_since_ms=state.now_ms,
            **{name: getattr(told, name) for name in PICTURE},
        )
        state.agents[told.agent_id] = agent
    else:
        if new_session or not was_available:
            agent.idle_since_ms = state.now_ms
            agent.strikes = 0
        if told.units < agent.units:
            _lower_capacity(state, agent, told.units)
        for name in PICTURE:
            setattr(agent, name, getattr(told, name))
    if told.elsewhere is not None:
        agent.elsewhere = told.elsewhere
    agent.is_timed = any(
        limit is not None
        for limit in (agent.shift_ends_ms, agent.break_due_ms, agent.premium_from_ms, agent.denied_from_ms)
    )
    _count(state, agent, was_there=was_there, decided=decided)
    if agent.premium_from_ms is not None and agent.premium_from_ms > state.now_ms:
        set_timer(state, agent.premium_from_ms, "agent", agent.agent_id)
    gone = told.presence == "offline"
    if gone or new_session or told.presence != "available":
        reason = "link_lost" if told.link_lost or new_session else "agent_unavailable"
        for contact in [state.contacts[contact_id] for contact_id in sorted(_concerned(agent))]:
            _consequence(state, contact, agent, decided, gone=gone, reason=reason)
    wanted = {"available": "ready", "offline": "offline"}.get(told.presence, "not_available")
    set_routing_state(state, agent, wanted, told.presence, decided, anew=new_session)
    touch_agent(state, agent)


def note_elsewhere(state: State, told: events.UnitsElsewhere, _decided: list[Output]) -> None:
    """Contacts of another shard gave the agent's units back, or took some."""
    agent = state.agents.get(told.agent_id)
    if agent is not None and agent.elsewhere != told.unit_numbers:
        agent.elsewhere = told.unit_numbers
        touch_agent(state, agent)


def _lower_capacity(state: State, agent: Agent, units: int) -> None:
    """What the agent has beyond the new capacity it keeps; the attempt says so."""
    state.lowered[agent.agent_id] = max(agent.units, state.lowered.get(agent.agent_id, 0))
    for contact_id, (_, numbers) in agent.work.items():
        if numbers[-1] > units:
            contact = state.contacts[contact_id]
            for offer in contact.offers if contact.holding is None else [contact.holding]:
                if offer.agent_id == agent.agent_id and not offer.over:
                    offer.over = CUT
                    state.touched_contacts[contact_id] = contact


def _count(state: State, agent: Agent, *, was_there: bool, decided: list[Output]) -> None:
    """Bring the agent's profile and the count of who is signed in up to date."""
    before = state.profile_of.get(agent.agent_id)
    settle(state, agent)
    after = state.profile_of[agent.agent_id]
    is_there = agent.presence != "offline"
    if before is after and was_there == is_there:
        return
    if was_there and before is not None:
        count_staffed(state, before, -1)
    if is_there:
        count_staffed(state, after, 1)
    for queue_id in state.watched:
        state.dirty_queues[queue_id] = None
    if was_there and before is not None and before.staffed == 0:
        skip_unstaffed(state, before, decided)


def _concerned(agent: Agent) -> set[str]:
    """Contacts that the agent was offered, holds, or paused."""
    return {*agent.work, *agent.paused}


def _consequence(
    state: State, contact: Contact, agent: Agent, decided: list[Output], *, gone: bool, reason: str
) -> None:
    if contact.state is ContactState.OFFERED:
        for pending in [one for one in contact.offers if one.agent_id == agent.agent_id]:
            rescind(state, contact, pending, reason, decided)
        return
    assert contact.state in HELD, contact
    assert contact.holding is not None, contact
    if gone and contact.state in (ContactState.ASSIGNED, ContactState.PAUSED):
        if contact.resume_command:
            give_up_resuming(state, contact, decided)
        contact.due_ms = state.now_ms + state.queues[contact.queue_id].link_grace_ms
        contact.awaits_response = False
        lost = decisions.LinkWasLost(**attempted(contact, contact.holding), held_until_ms=contact.due_ms)
        move(state, contact, lost, decided)
        wake_at(state, contact, contact.due_ms)
    elif not gone and contact.state is ContactState.LINK_LOST:
        contact.due_ms = None
        back = ContactState.ASSIGNED if contact.contact_id in agent.work else ContactState.PAUSED
        restored = decisions.LinkWasRestored(**attempted(contact, contact.holding), state=back.value)
        move(state, contact, restored, decided, to=back)
