"""What agents are and what they ask for."""

from router.core import inputs, outputs
from router.core.contacts import (
    attempted,
    decline,
    finish_conversation,
    move,
    release,
    rescind,
    set_routing_state,
    touch_agent,
)
from router.core.outputs import Output
from router.core.state import State, set_timer
from router.core.values import HELD, Agent, Contact, ContactState


def see_agent(state: State, told: inputs.AgentSeen, now_ms: int, decided: list[Output]) -> None:
    """Take the latest picture of an agent; draw the consequences for what it was offered and holds."""
    agent = state.agents.get(told.agent_id)
    if agent is not None and (told.session_no, told.seq) <= (agent.session_no, agent.seq):
        return
    new_session = agent is None or told.session_no != agent.session_no
    was_available = agent is not None and agent.presence == "available"
    if agent is None:
        agent = Agent(
            agent_id=told.agent_id,
            pool=told.pool,
            session_no=told.session_no,
            seq=told.seq,
            presence=told.presence,
            skills=told.skills,
            units=told.units,
            routing_state="offline",
            idle_since_ms=now_ms,
        )
        state.agents[told.agent_id] = agent
    elif new_session or not was_available:
        agent.idle_since_ms = now_ms
    agent.session_no, agent.seq, agent.presence = told.session_no, told.seq, told.presence
    agent.pool, agent.skills, agent.units = told.pool, told.skills, told.units
    gone = told.presence == "offline"
    if gone or new_session or told.presence != "available":
        reason = "link_lost" if told.link_lost or new_session else "agent_unavailable"
        for contact in _contacts_of(state, agent):
            _consequence(state, contact, now_ms, decided, gone=gone, reason=reason)
    wanted = {"available": "ready", "offline": "offline"}.get(told.presence, "not_available")
    set_routing_state(state, agent, wanted, told.presence, decided)
    touch_agent(state, agent)


def answer(state: State, asked: inputs.AgentAsked, now_ms: int, decided: list[Output]) -> None:
    """Do what the agent asks for, or say why not. A command told twice is done once and answered once."""
    reason = _obstacle(state, asked)
    if reason is not None:
        decided.append(
            outputs.Refused(
                command_id=asked.command_id,
                agent_id=asked.agent_id,
                pool=asked.pool,
                contact_id=asked.contact_id,
                attempt=asked.attempt,
                reason=reason,
            )
        )
        return
    contact = state.contacts[asked.contact_id]
    if asked.command_id in (contact.accept_command, contact.complete_command):
        return
    match asked.verb:
        case "accept":
            contact.accept_command = asked.command_id
            contact.complete_command = ""
            contact.due_ms = None
            yes = outputs.Accepted(**attempted(contact), command_id=asked.command_id)
            move(state, contact, yes, now_ms, decided)
        case "decline":
            decline(state, contact, asked.command_id, now_ms, decided)
        case "complete":
            finish_conversation(state, contact, now_ms, decided, actor="agent", command_id=asked.command_id)
        case "end_wrap_up":
            done = outputs.Completed(
                **attempted(contact),
                actor="agent",
                reason="completed",
                command_id=asked.command_id,
            )
            release(state, contact, done, now_ms, decided, worked=True)


_WANTED_STATE = {
    "accept": ContactState.OFFERED,
    "decline": ContactState.OFFERED,
    "complete": ContactState.ASSIGNED,
    "end_wrap_up": ContactState.WRAP_UP,
}


def _obstacle(state: State, asked: inputs.AgentAsked) -> str | None:
    agent = state.agents.get(asked.agent_id)
    if agent is None or asked.session_no < agent.session_no:
        return "old_session"
    contact = state.contacts.get(asked.contact_id)
    if contact is None:
        return "offer_over" if asked.contact_id in state.ended else "unknown_contact"
    if contact.attempt != asked.attempt or not contact.agent_id:
        return "offer_over" if asked.attempt <= contact.attempt else "unknown_contact"
    if contact.agent_id != asked.agent_id:
        return "not_offered_to_you" if contact.state is ContactState.OFFERED else "not_held_by_you"
    if asked.command_id in (contact.accept_command, contact.complete_command):
        return None
    if contact.state is not _WANTED_STATE[asked.verb]:
        early = contact.state is ContactState.OFFERED or asked.verb == "end_wrap_up"
        return "not_held_by_you" if early and asked.verb not in ("accept", "decline") else "already_done"
    return None


def _contacts_of(state: State, agent: Agent) -> list[Contact]:
    return [state.contacts[contact_id] for contact_id in sorted(set(agent.used.values()))]


def _consequence(
    state: State, contact: Contact, now_ms: int, decided: list[Output], *, gone: bool, reason: str
) -> None:
    if contact.state is ContactState.OFFERED:
        rescind(state, contact, reason, now_ms, decided)
        return
    assert contact.state in HELD, contact
    if gone and contact.state is ContactState.ASSIGNED:
        contact.due_ms = now_ms + state.queues[contact.queue_id].link_grace_ms
        lost = outputs.LinkWasLost(**attempted(contact), held_until_ms=contact.due_ms)
        move(state, contact, lost, now_ms, decided)
        set_timer(state, contact.contact_id, contact.due_ms)
    elif not gone and contact.state is ContactState.LINK_LOST:
        contact.due_ms = None
        move(state, contact, outputs.LinkWasRestored(**attempted(contact)), now_ms, decided)
