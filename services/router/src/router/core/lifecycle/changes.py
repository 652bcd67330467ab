"""How a contact or an agent changes: every transition goes through here, and is noted for the shell."""

from typing import Any

from router.core.index.agents import able_profiles, place_agent
from router.core.index.crews import count_agent
from router.core.index.state import State, remember_ended
from router.core.index.waiting import borrowing_need, moments, put_waiting, take_waiting, wake_at
from router.core.lifecycle.binding import bind_to_queue, follow_queue
from router.core.matching.bursts import hold_bursts
from router.core.matching.steps import leave_unstaffed_step
from router.core.model import decisions
from router.core.model.agent import Agent
from router.core.model.contact import ENDED, Contact, ContactState, Offer
from router.core.model.decisions import AttemptDecision, ContactDecision, Output
from router.core.model.transitions import TRANSITIONS
from router.core.queries.estimate import learn_handling
from router.core.rules.criteria import both


def move(
    state: State, contact: Contact, output: ContactDecision, decided: list[Output], *, to: ContactState | None = None
) -> None:
    """One transition of the table; an end leaves memory. `to` where the table leaves a choice."""
    afterwards = TRANSITIONS[contact.state, type(output)]
    after = afterwards[0] if to is None else to
    assert after in afterwards, (contact, output, to)
    contact.state = after
    decided.append(output)  # type: ignore[arg-type]
    state.touched_contacts[contact.contact_id] = contact
    if after in ENDED:
        del state.contacts[contact.contact_id]
        remember_ended(state, contact.contact_id, state.now_ms)


def release(
    state: State, contact: Contact, offer: Offer, output: AttemptDecision, decided: list[Output], *, worked: bool
) -> None:
    """The attempt is over: free the agent's units. Work resets the idle clock, a missed offer does not.

    A resume that was not granted yet is answered: nothing is left to go on with.
    """
    agent = state.agents[offer.agent_id]
    if contact.holding is offer and contact.resume_command:
        decided.append(
            decisions.Refused(
                command_id=contact.resume_command,
                agent_id=agent.agent_id,
                pool=contact.pool,
                contact_id=contact.contact_id,
                attempt=offer.attempt,
                reason="already_done",
            )
        )
        contact.resume_command = ""
    if agent.work.pop(contact.contact_id, None) is None:
        agent.paused.remove(contact.contact_id)
        if agent.resuming == contact.contact_id:
            agent.resuming = ""
    if worked:
        agent.idle_since_ms = state.now_ms
    if contact.holding is offer:
        contact.holding = None
        contact.due_ms = None
        contact.awaits_response = False
        contact.accept_command = ""
    else:
        contact.offers.remove(offer)
    still_out = ContactState.OFFERED if contact.offers else None
    move(state, contact, output, decided, to=still_out)
    if contact.state is ContactState.QUEUED:
        if not isinstance(output, decisions.Transferred):
            follow_queue(state, contact, decided)
            leave_unstaffed_step(state, contact, decided)
            put_waiting(state, contact)
        for at_ms in moments(state.queues[contact.queue_id], contact):
            wake_at(state, contact, at_ms)  # its step or its life may have ended meanwhile
    state.touched_agents[agent.agent_id] = agent
    if state.freed is None and agent.agent_id not in state.slots:
        state.freed = agent  # it may be asked at once: see `fast_path`
    elif state.freed is not agent:
        touch_agent(state, agent)


def finish_conversation(state: State, contact: Contact, decided: list[Output], *, actor: str, command_id: str) -> None:
    """The conversation is over: on to wrap-up, or straight to the end where the queue has none."""
    holding = contact.holding
    assert holding is not None, contact
    queue = state.queues[contact.queue_id]
    contact.complete_command = command_id
    if queue.wrap_up_ms == 0 or contact.state is ContactState.PAUSED:
        complete(state, contact, decided, actor=actor, reason="completed", command_id=command_id)
        return
    contact.due_ms = state.now_ms + queue.wrap_up_ms
    contact.awaits_response = False
    began = decisions.WrapUpBegan(
        **attempted(contact, holding), ends_at_ms=contact.due_ms, actor=actor, command_id=command_id
    )
    move(state, contact, began, decided)
    wake_at(state, contact, contact.due_ms)


def complete(
    state: State, contact: Contact, decided: list[Output], *, actor: str, reason: str, command_id: str = ""
) -> None:
    """The end of the contact with the agent that held it."""
    holding = contact.holding
    assert holding is not None, contact
    learn_handling(state, contact)
    done = decisions.Completed(
        contact_id=contact.contact_id,
        queue_id=contact.queue_id,
        pool=contact.pool,
        attempt=holding.attempt,
        agent_id=holding.agent_id,
        actor=actor,
        reason=reason,
        command_id=command_id,
    )
    release(state, contact, holding, done, decided, worked=True)


def rescind(state: State, contact: Contact, offer: Offer, reason: str, decided: list[Output]) -> None:
    """Take a pending offer back."""
    back = decisions.Rescinded(**attempted(contact, offer), reason=reason, still_out=len(contact.offers) - 1)
    release(state, contact, offer, back, decided, worked=False)


def requeue(state: State, contact: Contact, reason: str, decided: list[Output]) -> None:
    """The agent lost the contact: back at the head of its order, its age kept."""
    assert contact.holding is not None, contact
    back = decisions.Requeued(**attempted(contact, contact.holding), reason=reason)
    release(state, contact, contact.holding, back, decided, worked=True)


def enter_queue(state: State, contact: Contact, queue_id: str, decided: list[Output]) -> None:
    """Begin to wait in the queue. The contact is in state queued and waits nowhere."""
    contact.queue_id = queue_id
    contact.queued_at_ms = state.now_ms
    contact.escalated = 0
    contact.steps, contact.step, contact.step_ends_ms = (), 0, None
    contact.scores = contact.scores_due_ms = None  # another queue's scorer, or one that nobody waits for any more
    bind_to_queue(state, contact, decided)
    if queue_id in state.calm:
        put_waiting(state, contact)
        return
    policy = state.queues[queue_id].policy
    if policy.choice.method == "scorer":
        contact.scores_due_ms = state.now_ms + policy.choice.budget_ms
        wake_at(state, contact, contact.scores_due_ms)
        state.to_score[contact.contact_id] = None
    if queue_id in state.watched:
        state.entered[contact.contact_id] = None
    put_waiting(state, contact)
    if policy.micro_batch is not None:
        hold_bursts(state, contact)


def move_to(state: State, contact: Contact, queue_id: str, reason: str, decided: list[Output]) -> None:
    """On to another queue, the age kept."""
    take_waiting(state, contact)
    moved = decisions.Moved(
        contact_id=contact.contact_id,
        queue_id=queue_id,
        pool=contact.pool,
        from_queue=contact.queue_id,
        reason=reason,
    )
    move(state, contact, moved, decided)
    contact.moves += 1
    enter_queue(state, contact, queue_id, decided)


def set_routing_state(
    state: State, agent: Agent, routing_state: str, reason: str, decided: list[Output], *, anew: bool = False
) -> None:
    """Say it only when it changes. `anew`: a new session is said in any case, because readers ask whose session it is."""
    if agent.routing_state == routing_state and not anew:
        return
    agent.routing_state = routing_state
    count_agent(state, agent)
    for queue_id in state.watched:
        state.dirty_queues[queue_id] = None  # there is more capacity now, or less
    agent.told_denial = ""  # readers take the new reason for the old one
    decided.append(
        decisions.AgentRouting(
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


def is_sole_able(state: State, contact: Contact, agent_id: str) -> bool:
    """Whether nobody else who is signed in could serve the contact, which waits, as it waits now.

    A lent agent is judged as if their queue still borrowed: it may have ended to while it waited for their answer.
    """
    group, profile = state.place_of[contact.contact_id][0], state.profile_of[agent_id]
    able = group.able
    if not able >> profile.no & 1:
        asked = borrowing_need(state, state.queues[contact.queue_id])
        able = able_profiles(state, both(asked, group.own_need), contact.pool)
    left = able & state.staffed
    return left == 1 << profile.no and profile.staffed == 1


def whose(contact: Contact) -> dict[str, Any]:
    """The fields of every decision about the contact."""
    return {"contact_id": contact.contact_id, "queue_id": contact.queue_id, "pool": contact.pool}


def attempted(contact: Contact, offer: Offer) -> dict[str, Any]:
    """The fields of every decision about one of its attempts."""
    return {**whose(contact), "attempt": offer.attempt, "agent_id": offer.agent_id}
