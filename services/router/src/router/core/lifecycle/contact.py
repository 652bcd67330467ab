"""The life of a contact: it arrives, is offered, is accepted, and what happens when its time runs out."""

from zlib import crc32

from router.core.index.state import Group, State
from router.core.index.waiting import lives_until_ms, put_waiting, score_now, take_waiting, wake_at
from router.core.lifecycle.binding import bind_to_queue
from router.core.lifecycle.changes import (
    attempted,
    complete,
    enter_queue,
    finish_conversation,
    is_sole_able,
    move,
    release,
    requeue,
    rescind,
    set_routing_state,
    touch_agent,
    whose,
)
from router.core.matching.selection import choose
from router.core.matching.steps import end_step
from router.core.model import decisions, events
from router.core.model.agent import Agent
from router.core.model.contact import DECLINES_REMEMBERED_MAX, Contact, ContactState, Offer
from router.core.model.decisions import Output
from router.core.queries.estimate import foresee, learn_wait
from router.core.rules.capacity import allot, spend_token, units_of
from router.core.rules.criteria import both, skills_need

SOLE_DECLINE_MS = 5_000
"""An agent who let the contact go and is the only one who could serve it is asked again after this short while."""


def arrive(state: State, told: events.ContactArrived, decided: list[Output]) -> None:
    """A contact joins its queue, now or when it is due."""
    if told.contact_id in state.contacts or told.contact_id in state.ended:
        return
    queue = state.queues[told.queue_id]
    if queue.policy.split:
        queue = state.queues[shared_out(state, told)]
    own = told.need
    if told.requirements:
        own = both(own, skills_need(told.requirements))
    scheduled = told.not_before_ms is not None and told.not_before_ms > state.now_ms
    age_ms = told.accepted_at_ms if told.not_before_ms is None else told.not_before_ms
    contact = Contact(
        contact_id=told.contact_id,
        queue_id=queue.queue_id,
        pool=told.pool,
        channel=told.channel,
        priority=told.priority,
        need=own,
        units=units_of(queue, told.channel),
        accepted_at_ms=told.accepted_at_ms,
        routing_age_at_ms=age_ms,
        queued_at_ms=state.now_ms,
        customer=told.customer,
        last_agent=told.last_agent,
        account_team=told.account_team,
        named_agent=told.named_agent,
        correlation=told.correlation,
        queue_version=queue.version,
    )
    state.contacts[contact.contact_id] = contact
    state.fresh[contact.contact_id] = None
    state.touched_contacts[contact.contact_id] = contact
    if scheduled:
        contact.promise = "due"
        schedule(state, contact, age_ms)
        decided.append(
            decisions.Scheduled(
                **whose(contact),
                channel=contact.channel,
                priority=contact.priority,
                accepted_at_ms=contact.accepted_at_ms,
                due_ms=age_ms,
            )
        )
        return
    decided.append(_queued(contact))
    foresee(state, contact, queue)
    if queue.queue_id in state.calm and not contact.named_agent and state.newcomer is None:
        state.newcomer = contact  # it may never have to wait: see `fast_path`
    else:
        enter_queue(state, contact, contact.queue_id, decided)


def shared_out(state: State, told: events.ContactArrived) -> str:
    """The queue that gets the contact by percentage; the same customer always the same one."""
    place = crc32((told.customer or told.contact_id).encode()) % 100
    queue = state.queues[told.queue_id]
    for share in queue.policy.split:
        if place < share.percent and share.queue in state.queues:
            return share.queue
        place -= share.percent
    return told.queue_id


def schedule(state: State, contact: Contact, due_ms: int) -> None:
    """Keep the contact until it is due."""
    contact.state = ContactState.SCHEDULED
    contact.due_ms = due_ms
    wake_at(state, contact, due_ms)


def cancel(state: State, told: events.CancelAsked, decided: list[Output]) -> None:
    """The customer left, or the integration took the contact back. What is unknown or over is left alone."""
    contact = state.contacts.get(told.contact_id)
    if contact is None or contact.state is ContactState.WRAP_UP:
        return
    actor = "customer" if told.reason == "customer_gave_up" else "integration"
    if contact.state in (ContactState.ASSIGNED, ContactState.PAUSED):
        finish_conversation(state, contact, decided, actor=actor, command_id="")
        return
    if contact.state is ContactState.LINK_LOST:
        complete(state, contact, decided, actor=actor, reason="link_lost")
        return
    for pending in list(contact.offers):
        rescind(state, contact, pending, told.reason, decided)
    end = decisions.Abandoned if actor == "customer" else decisions.Cancelled
    if contact.state is ContactState.QUEUED:
        take_waiting(state, contact)
    move(state, contact, end(**whose(contact), reason=told.reason), decided)


def ask_callback(state: State, told: events.CallbackAsked, decided: list[Output]) -> None:
    """The customer asks to be called back: the last wish counts. Whoever is with an agent is being served already."""
    contact = state.contacts.get(told.contact_id)
    if contact is None or (told.requested_at_ms and told.requested_at_ms <= contact.callback_asked_ms):
        return
    if contact.holding is not None:
        return  # asked again once it waits: see intake's repetitions
    for pending in list(contact.offers):
        rescind(state, contact, pending, "withdrawn", decided)
    contact.callback_asked_ms = told.requested_at_ms
    call_back(state, contact, told.not_before_ms, "customer", decided)


def call_back(state: State, contact: Contact, due_ms: int | None, actor: str, decided: list[Output]) -> None:
    """From now on it is a callback: it keeps its place, and no one waits on the line. With a time, it comes back then.

    One that is kept for a time already is kept for the new one.
    """
    waits = contact.state is ContactState.QUEUED
    if waits:
        take_waiting(state, contact)
    contact.channel = "callback"
    contact.promise = "callback"
    bind_to_queue(state, contact, decided)
    if due_ms is not None and due_ms <= state.now_ms:
        due_ms = None
    if not waits:
        due_ms = due_ms or state.now_ms
        if contact.due_ms == contact.routing_age_at_ms:
            contact.routing_age_at_ms = due_ms  # it never waited: its age begins when it is due
    arranged = decisions.CallbackArranged(
        **whose(contact),
        actor=actor,
        due_ms=due_ms,
        requested_at_ms=contact.callback_asked_ms if actor == "customer" else 0,
    )
    after = ContactState.QUEUED if due_ms is None else ContactState.SCHEDULED
    move(state, contact, arranged, decided, to=after)
    if due_ms is not None:
        schedule(state, contact, due_ms)
    else:
        put_waiting(state, contact)


def offer(state: State, contact: Contact, agent: Agent, decided: list[Output]) -> None:
    """Reserve capacity and ask; ask several at a time where the queue says so."""
    group = state.place_of[contact.contact_id][0]
    score = score_now(state, contact, state.now_ms)
    take_waiting(state, contact)
    offer_at(state, contact, agent, group, score, decided)


def offer_at(state: State, contact: Contact, agent: Agent, group: Group, score: int, decided: list[Output]) -> None:
    """The same for a contact that waits nowhere (any more) and belongs into `group`."""
    policy = state.queues[contact.queue_id].policy.offers
    _offer_to(state, contact, agent, group, score, decided)
    if policy.auto_accept or agent.auto_accept:
        accept(state, contact, contact.offers[0], "", decided)
        return
    for _ in range(policy.parallel - 1):
        another = choose(state, contact, group)
        if another is None:
            return
        _offer_to(state, contact, another, group, score, decided)


def _offer_to(state: State, contact: Contact, agent: Agent, group: Group, score: int, decided: list[Output]) -> None:
    queue = state.queues[contact.queue_id]
    numbers, over = allot(agent, state.demands[group.demand])
    contact.attempt += 1
    timeout_ms = queue.policy.offers.timeouts_ms.get(contact.channel, queue.offer_timeout_ms)
    expires_ms = state.now_ms + timeout_ms + agent.offer_extra_ms
    contact.offers.append(
        Offer(attempt=contact.attempt, agent_id=agent.agent_id, unit_numbers=numbers, expires_ms=expires_ms, over=over)
    )
    agent.work[contact.contact_id] = (contact.channel, numbers)
    state.turns += 1
    agent.turn = state.turns
    if queue.policy.fair is not None:
        spend_token(agent, queue.queue_id, queue.policy.fair, state.now_ms)
    made = decisions.Offered(
        contact_id=contact.contact_id,
        queue_id=contact.queue_id,
        pool=contact.pool,
        attempt=contact.attempt,
        agent_id=agent.agent_id,
        session_no=agent.session_no,
        seq=agent.seq,
        queue_version=queue.version,
        capacity=agent.units,
        channel=contact.channel,
        priority=contact.priority,
        unit_numbers=numbers,
        routing_age_at_ms=contact.routing_age_at_ms,
        expires_at_ms=expires_ms,
        score=score,
        over=over,
    )
    move(state, contact, made, decided)
    if not (queue.policy.offers.auto_accept or agent.auto_accept):
        wake_at(state, contact, expires_ms)
    touch_agent(state, agent)


def accept(state: State, contact: Contact, taken: Offer, command_id: str, decided: list[Output]) -> None:
    """The contact is the agent's; whoever else was asked is told that it is gone."""
    for other in [one for one in contact.offers if one is not taken]:
        rescind(state, contact, other, "taken", decided)
    contact.holding = taken
    contact.offers = []
    contact.accept_command = command_id
    contact.complete_command = ""
    contact.answered_at_ms = state.now_ms
    if state.told:
        learn_wait(state, contact)
    agent = state.agents[taken.agent_id]
    agent.strikes = 0
    watch_ms = state.queues[contact.queue_id].policy.offers.first_response_ms
    contact.awaits_response = watch_ms > 0
    contact.due_ms = state.now_ms + watch_ms if watch_ms else None
    yes = decisions.Accepted(
        contact_id=contact.contact_id,
        queue_id=contact.queue_id,
        pool=contact.pool,
        attempt=taken.attempt,
        agent_id=taken.agent_id,
        command_id=command_id,
    )
    move(state, contact, yes, decided)
    if contact.due_ms is not None:
        wake_at(state, contact, contact.due_ms)


def decline(state: State, contact: Contact, declined: Offer, command_id: str, decided: list[Output]) -> None:
    """Back at the head of its order, and for a while not to this agent again."""
    no = decisions.Declined(**attempted(contact, declined), command_id=command_id, still_out=len(contact.offers) - 1)
    remember = state.queues[contact.queue_id].policy.offers.decline_memory_ms
    set_aside(state, contact, declined.agent_id, remember)
    release(state, contact, declined, no, decided, worked=False)
    if contact.state is ContactState.QUEUED:
        shorten_aside(state, contact, declined.agent_id)


def set_aside(state: State, contact: Contact, agent_id: str, for_ms: int, *, why: str = "") -> None:
    """For so long the contact is not offered to the agent. `why`: where the agent did not decline it."""
    if len(contact.declined) >= DECLINES_REMEMBERED_MAX and agent_id not in contact.declined:
        oldest = next(iter(contact.declined))
        del contact.declined[oldest]
        contact.aside.pop(oldest, None)
    contact.declined[agent_id] = state.now_ms + for_ms
    if why:
        contact.aside[agent_id] = why
    else:
        contact.aside.pop(agent_id, None)
    wake_at(state, contact, state.now_ms + for_ms)


def shorten_aside(state: State, contact: Contact, agent_id: str) -> None:
    """The contact waits now: nobody else who is signed in could serve it, so it does not wait beside the agent for long."""
    soon_ms = state.now_ms + SOLE_DECLINE_MS
    if contact.declined[agent_id] > soon_ms and is_sole_able(state, contact, agent_id):
        contact.declined[agent_id] = soon_ms
        wake_at(state, contact, soon_ms)


def run_out(state: State, contact_id: str, decided: list[Output]) -> None:
    """A timer of the contact rang: do what is due, if anything is."""
    contact = state.contacts.get(contact_id)
    if contact is None:
        return
    now_ms = state.now_ms
    over = [agent_id for agent_id, until_ms in contact.declined.items() if until_ms <= now_ms]
    for agent_id in over:
        del contact.declined[agent_id]
        contact.aside.pop(agent_id, None)
    if contact.state is ContactState.QUEUED:
        _ripen(state, contact, decided)
    elif contact.state is ContactState.OFFERED:
        for late in [one for one in contact.offers if one.expires_ms is not None and one.expires_ms <= now_ms]:
            _strike(state, contact, late, decided)
    elif contact.due_ms is not None and contact.due_ms <= now_ms:
        _end_state(state, contact, decided)


def _ripen(state: State, contact: Contact, decided: list[Output]) -> None:
    """What waiting brings: the end of its life, a higher priority, the next step."""
    queue = state.queues[contact.queue_id]
    now_ms = state.now_ms
    waited_ms = now_ms - contact.queued_at_ms
    ends_ms = lives_until_ms(queue, contact)
    if ends_ms is not None and ends_ms <= now_ms:
        take_waiting(state, contact)
        expired = decisions.Expired(**whose(contact), waited_ms=now_ms - contact.routing_age_at_ms)
        move(state, contact, expired, decided)
        return
    if contact.scores_due_ms is not None and contact.scores_due_ms <= now_ms:
        contact.scores_due_ms = None
        state.to_score.pop(contact.contact_id, None)
    while contact.escalated < len(queue.policy.escalations):
        escalation = queue.policy.escalations[contact.escalated]
        if waited_ms < escalation.after_ms:
            break
        contact.escalated += 1
        if escalation.priority > contact.priority:
            take_waiting(state, contact)
            contact.priority = escalation.priority
            put_waiting(state, contact)
            state.touched_contacts[contact.contact_id] = contact
            decided.append(decisions.Escalated(**whose(contact), priority=contact.priority, waited_ms=waited_ms))
    if contact.step_ends_ms is not None and contact.step_ends_ms <= now_ms:
        end_step(state, contact, decided, expired=True)
    state.dirty_groups[state.place_of[contact.contact_id][0].no] = None
    if contact.queue_id in state.watched:
        state.dirty_queues[contact.queue_id] = None


def _strike(state: State, contact: Contact, late: Offer, decided: list[Output]) -> None:
    """RONA: the offer was not answered. After enough strikes in a row the agent is not responding."""
    agent = state.agents[late.agent_id]
    agent.strikes += 1
    missed = decisions.TimedOut(**attempted(contact, late), still_out=len(contact.offers) - 1)
    release(state, contact, late, missed, decided, worked=False)
    if agent.strikes >= state.queues[contact.queue_id].policy.offers.strikes:
        agent.strikes = 0
        set_routing_state(state, agent, "not_responding", "offer_not_answered", decided)


def _end_state(state: State, contact: Contact, decided: list[Output]) -> None:
    match contact.state:
        case ContactState.SCHEDULED:
            contact.due_ms = None
            contact.routing_age_at_ms = min(contact.routing_age_at_ms, state.now_ms)
            bind_to_queue(state, contact, decided)
            move(state, contact, _queued(contact), decided)
            enter_queue(state, contact, contact.queue_id, decided)
        case ContactState.LINK_LOST:
            requeue(state, contact, "link_lost", decided)
        case ContactState.WRAP_UP:
            complete(state, contact, decided, actor="router", reason="wrap_up_timeout")
        case ContactState.ASSIGNED:
            assert contact.holding is not None, contact
            memory_ms = state.queues[contact.queue_id].policy.offers.decline_memory_ms
            agent_id = contact.holding.agent_id
            set_aside(state, contact, agent_id, memory_ms, why="no_first_response")
            requeue(state, contact, "no_first_response", decided)
            shorten_aside(state, contact, agent_id)
        case ContactState.PAUSED:
            give_up_resuming(state, contact, decided)


def give_up_resuming(state: State, contact: Contact, decided: list[Output]) -> None:
    """No capacity came free within the hold: the contact stays paused, and the agent may get offers again."""
    assert contact.holding is not None, contact
    agent = state.agents[contact.holding.agent_id]
    decided.append(
        decisions.Refused(
            command_id=contact.resume_command,
            agent_id=agent.agent_id,
            pool=contact.pool,
            contact_id=contact.contact_id,
            attempt=contact.holding.attempt,
            reason="no_capacity",
        )
    )
    contact.due_ms, contact.resume_command = None, ""
    if agent.resuming == contact.contact_id:
        agent.resuming = ""
    state.touched_contacts[contact.contact_id] = contact
    touch_agent(state, agent)


def _queued(contact: Contact) -> decisions.Queued:
    return decisions.Queued(
        contact_id=contact.contact_id,
        queue_id=contact.queue_id,
        pool=contact.pool,
        channel=contact.channel,
        priority=contact.priority,
        units=contact.units,
        accepted_at_ms=contact.accepted_at_ms,
        routing_age_at_ms=contact.routing_age_at_ms,
    )
