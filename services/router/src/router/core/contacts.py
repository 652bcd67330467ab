"""The life of a contact, transition by transition."""

from typing import Any

from router.core import inputs, outputs
from router.core.outputs import RELEASES, ContactDecision, Output
from router.core.state import State, place_agent, put_waiting, remember_ended, set_timer, take_waiting
from router.core.transitions import TRANSITIONS
from router.core.values import DECLINES_REMEMBERED_MAX, ENDED, Agent, Contact, ContactState

CHANNEL_UNITS = {
    "voice": 6,
    "callback": 6,
    "screen_share": 6,
    "chat": 2,
    "social": 2,
    "sms": 1,
    "email": 1,
}
"""Capacity units that a contact takes: an agent of six units has one call, or three chats, or six e-mails."""
DECLINE_REMEMBERED_MS = 30_000
"""For so long a contact is not offered again to an agent who declined it."""


def arrive(state: State, told: inputs.ContactArrived, decided: list[Output]) -> None:
    """A contact joins its queue, with the queue's requirements and its own."""
    if told.contact_id in state.contacts or told.contact_id in state.ended:
        return
    queue = state.queues[told.queue_id]
    levels = dict(queue.requirements)
    for skill, level in told.requirements:
        levels[skill] = max(level, levels.get(skill, 0))
    contact = Contact(
        contact_id=told.contact_id,
        queue_id=told.queue_id,
        pool=told.pool,
        channel=told.channel,
        priority=told.priority,
        requirements=tuple(sorted(levels.items())),
        units=CHANNEL_UNITS[told.channel],
        accepted_at_ms=told.accepted_at_ms,
        routing_age_at_ms=told.accepted_at_ms,
    )
    state.contacts[contact.contact_id] = contact
    _note(
        state,
        contact,
        None,
        outputs.Queued(
            **whose(contact),
            channel=contact.channel,
            priority=contact.priority,
            units=contact.units,
            accepted_at_ms=contact.accepted_at_ms,
            routing_age_at_ms=contact.routing_age_at_ms,
        ),
        decided,
    )
    put_waiting(state, contact)


def cancel(state: State, told: inputs.CancelAsked, now_ms: int, decided: list[Output]) -> None:
    """The customer left, or the integration took the contact back. What is unknown or over is left alone."""
    contact = state.contacts.get(told.contact_id)
    if contact is None or contact.state is ContactState.WRAP_UP:
        return
    actor = "customer" if told.reason == "customer_gave_up" else "integration"
    if contact.state is ContactState.ASSIGNED:
        finish_conversation(state, contact, now_ms, decided, actor=actor, command_id="")
        return
    if contact.state is ContactState.LINK_LOST:
        done = outputs.Completed(**attempted(contact), actor=actor, reason="link_lost", command_id="")
        release(state, contact, done, now_ms, decided, worked=True)
        return
    if contact.state is ContactState.OFFERED:
        rescind(state, contact, told.reason, now_ms, decided)
    end = outputs.Abandoned if actor == "customer" else outputs.Cancelled
    take_waiting(state, contact)
    move(state, contact, end(**whose(contact), reason=told.reason), now_ms, decided)


def offer(state: State, contact: Contact, agent: Agent, now_ms: int, decided: list[Output]) -> None:
    """Reserve the agent's lowest free units and ask."""
    take_waiting(state, contact)
    numbers = [n for n in range(1, agent.units + 1) if n not in agent.used][: contact.units]
    contact.attempt += 1
    contact.agent_id = agent.agent_id
    contact.unit_numbers = tuple(numbers)
    contact.due_ms = now_ms + state.queues[contact.queue_id].offer_timeout_ms
    for number in numbers:
        agent.used[number] = contact.contact_id
    made = outputs.Offered(
        **attempted(contact),
        session_no=agent.session_no,
        channel=contact.channel,
        priority=contact.priority,
        unit_numbers=contact.unit_numbers,
        routing_age_at_ms=contact.routing_age_at_ms,
        expires_at_ms=contact.due_ms,
    )
    move(state, contact, made, now_ms, decided)
    set_timer(state, contact.contact_id, contact.due_ms)
    touch_agent(state, agent)


def run_out(state: State, contact_id: str, now_ms: int, decided: list[Output]) -> None:
    """A timer of the contact rang: do what is due, if anything is."""
    contact = state.contacts.get(contact_id)
    if contact is None:
        return
    over = [agent_id for agent_id, until_ms in contact.declined.items() if until_ms <= now_ms]
    for agent_id in over:
        del contact.declined[agent_id]
    if over and contact.state is ContactState.QUEUED:
        state.dirty_contacts[contact_id] = None
    if contact.due_ms is None or contact.due_ms > now_ms:
        return
    if contact.state is ContactState.OFFERED:
        agent = state.agents[contact.agent_id]
        release(state, contact, outputs.TimedOut(**attempted(contact)), now_ms, decided, worked=False)
        set_routing_state(state, agent, "not_responding", "offer_not_answered", decided)
    elif contact.state is ContactState.LINK_LOST:
        back = outputs.Requeued(**attempted(contact), reason="link_lost")
        release(state, contact, back, now_ms, decided, worked=True)
    elif contact.state is ContactState.WRAP_UP:
        done = outputs.Completed(**attempted(contact), actor="router", reason="wrap_up_timeout", command_id="")
        release(state, contact, done, now_ms, decided, worked=True)


def finish_conversation(
    state: State, contact: Contact, now_ms: int, decided: list[Output], *, actor: str, command_id: str
) -> None:
    """The conversation is over: on to wrap-up, or straight to the end where the queue has none."""
    wrap_up_ms = state.queues[contact.queue_id].wrap_up_ms
    contact.complete_command = command_id
    if wrap_up_ms == 0:
        done = outputs.Completed(**attempted(contact), actor=actor, reason="completed", command_id=command_id)
        release(state, contact, done, now_ms, decided, worked=True)
        return
    contact.due_ms = now_ms + wrap_up_ms
    began = outputs.WrapUpBegan(**attempted(contact), ends_at_ms=contact.due_ms, actor=actor, command_id=command_id)
    move(state, contact, began, now_ms, decided)
    set_timer(state, contact.contact_id, contact.due_ms)


def rescind(state: State, contact: Contact, reason: str, now_ms: int, decided: list[Output]) -> None:
    """Take a pending offer back."""
    back = outputs.Rescinded(**attempted(contact), reason=reason)
    release(state, contact, back, now_ms, decided, worked=False)


def decline(state: State, contact: Contact, command_id: str, now_ms: int, decided: list[Output]) -> None:
    """Back at the head of its order, and for a while not to this agent again."""
    if len(contact.declined) >= DECLINES_REMEMBERED_MAX:
        del contact.declined[next(iter(contact.declined))]
    contact.declined[contact.agent_id] = now_ms + DECLINE_REMEMBERED_MS
    set_timer(state, contact.contact_id, now_ms + DECLINE_REMEMBERED_MS)
    no = outputs.Declined(**attempted(contact), command_id=command_id)
    release(state, contact, no, now_ms, decided, worked=False)


def release(
    state: State,
    contact: Contact,
    output: outputs.AttemptDecision,
    now_ms: int,
    decided: list[Output],
    *,
    worked: bool,
) -> None:
    """The attempt is over: free the agent's units. Work resets the idle clock, a missed offer does not."""
    assert isinstance(output, RELEASES), output
    agent = state.agents[contact.agent_id]
    for number in contact.unit_numbers:
        del agent.used[number]
    if worked:
        agent.idle_since_ms = now_ms
    contact.agent_id, contact.unit_numbers, contact.due_ms = "", (), None
    move(state, contact, output, now_ms, decided)
    if contact.state is ContactState.QUEUED:
        put_waiting(state, contact)
    touch_agent(state, agent)


def move(state: State, contact: Contact, output: ContactDecision, now_ms: int, decided: list[Output]) -> None:
    """One transition of the table; an end leaves memory."""
    _note(state, contact, contact.state, output, decided)
    if contact.state in ENDED:
        del state.contacts[contact.contact_id]
        remember_ended(state, contact.contact_id, now_ms)


def set_routing_state(state: State, agent: Agent, routing_state: str, reason: str, decided: list[Output]) -> None:
    """Say it only when it changes."""
    if agent.routing_state == routing_state:
        return
    agent.routing_state = routing_state
    decided.append(
        outputs.AgentRouting(
            agent_id=agent.agent_id,
            pool=agent.pool,
            session_no=agent.session_no,
            routing_state=routing_state,
            reason=reason,
        )
    )
    touch_agent(state, agent)


def touch_agent(state: State, agent: Agent) -> None:
    """The agent changed: place it anew, and let it look for contacts."""
    state.touched_agents[agent.agent_id] = agent
    place_agent(state, agent)
    if agent.agent_id in state.slots:
        state.dirty_agents[agent.agent_id] = None


def whose(contact: Contact) -> dict[str, Any]:
    """The fields that every decision about the contact has."""
    return {"contact_id": contact.contact_id, "queue_id": contact.queue_id, "pool": contact.pool}


def attempted(contact: Contact) -> dict[str, Any]:
    """The fields that every decision about the present attempt has."""
    return {**whose(contact), "attempt": contact.attempt, "agent_id": contact.agent_id}


def _note(
    state: State,
    contact: Contact,
    before: ContactState | None,
    output: ContactDecision,
    decided: list[Output],
) -> None:
    contact.state = TRANSITIONS[before, type(output)]
    state.touched_contacts[contact.contact_id] = contact
    decided.append(output)  # type: ignore[arg-type]
