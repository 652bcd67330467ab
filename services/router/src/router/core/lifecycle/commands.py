"""What agents ask for. A command told twice is done once and answered once; what comes too late is refused."""

from common.contracts.needs import is_impossible
from common.contracts.policies import Need
from router.core.index.state import State
from router.core.index.waiting import queue_need, wake_at
from router.core.lifecycle.binding import bind_to_queue
from router.core.lifecycle.changes import (
    attempted,
    complete,
    enter_queue,
    finish_conversation,
    move,
    release,
    touch_agent,
)
from router.core.lifecycle.contact import accept, decline, give_up_resuming, set_aside, shorten_aside
from router.core.model import decisions, events
from router.core.model.contact import Contact, ContactState, Offer
from router.core.model.decisions import Output
from router.core.rules.capacity import allot, could_ever_take, demand_of, obstacle
from router.core.rules.criteria import both, is_met

KIND_OF = {"agent_not_signed_in": "unknown_agent", "agent_not_able": "unknown_agent", "nobody_able": "unknown_queue"}
"""The reason that every reader of the log knows, for those that came later; these go as its detail."""
_WANTED: dict[str, tuple[ContactState, ...]] = {
    "accept": (ContactState.OFFERED,),
    "decline": (ContactState.OFFERED,),
    "respond": (ContactState.ASSIGNED,),
    "pause": (ContactState.ASSIGNED,),
    "resume": (ContactState.PAUSED,),
    "transfer": (ContactState.ASSIGNED, ContactState.PAUSED),
    "complete": (ContactState.ASSIGNED, ContactState.PAUSED),
    "end_wrap_up": (ContactState.WRAP_UP,),
}


def answer(state: State, asked: events.AgentAsked, decided: list[Output]) -> None:
    """Do what the agent asks for, or say why not."""
    contact = state.contacts.get(asked.contact_id)
    if contact is not None and _is_repeated(contact, asked):
        return
    reason = _obstacle(state, contact, asked)
    if reason:
        decided.append(
            decisions.Refused(
                command_id=asked.command_id,
                agent_id=asked.agent_id,
                pool=asked.pool,
                contact_id=asked.contact_id,
                attempt=asked.attempt,
                reason=KIND_OF.get(reason, reason),
                detail=reason if reason in KIND_OF else "",
            )
        )
        return
    assert contact is not None, asked
    offer = _offer_of(contact, asked)
    assert offer is not None, asked
    match asked.verb:
        case "accept":
            accept(state, contact, offer, asked.command_id, decided)
        case "decline":
            decline(state, contact, offer, asked.command_id, decided)
        case "respond":
            contact.awaits_response, contact.due_ms = False, None
            move(state, contact, decisions.Responded(**attempted(contact, offer), command_id=asked.command_id), decided)
        case "pause":
            _pause(state, contact, offer, asked.command_id, decided)
        case "resume":
            _resume(state, contact, offer, asked.command_id, decided)
        case "transfer":
            _transfer(state, contact, offer, asked, decided)
        case "complete":
            finish_conversation(state, contact, decided, actor="agent", command_id=asked.command_id)
        case "end_wrap_up":
            complete(state, contact, decided, actor="agent", reason="completed", command_id=asked.command_id)


def _is_repeated(contact: Contact, asked: events.AgentAsked) -> bool:
    """Whether the agent who holds the contact repeats what was done. Ids are each agent's own: two may choose the same."""
    holding, verb = contact.holding, asked.verb
    if holding is None or holding.attempt != asked.attempt or holding.agent_id != asked.agent_id:
        return False
    if verb == "complete":
        return asked.command_id == contact.complete_command
    if verb == "accept":
        return asked.command_id == contact.accept_command
    return verb == "resume" and asked.command_id == contact.resume_command


def _offer_of(contact: Contact, asked: events.AgentAsked) -> Offer | None:
    if contact.holding is not None:
        return contact.holding if contact.holding.attempt == asked.attempt else None
    return next((one for one in contact.offers if one.attempt == asked.attempt), None)


def _obstacle(state: State, contact: Contact | None, asked: events.AgentAsked) -> str:
    agent = state.agents.get(asked.agent_id)
    if agent is None or asked.session_no < agent.session_no:
        return "old_session"
    if contact is None:
        return "offer_over" if asked.contact_id in state.ended else "unknown_contact"
    offer = _offer_of(contact, asked)
    if offer is None:
        return "offer_over" if asked.attempt <= contact.attempt else "unknown_contact"
    if offer.agent_id != asked.agent_id:
        return "not_offered_to_you" if contact.state is ContactState.OFFERED else "not_held_by_you"
    if contact.state not in _WANTED[asked.verb]:
        early = contact.state is ContactState.OFFERED or asked.verb == "end_wrap_up"
        return "not_held_by_you" if early and asked.verb not in ("accept", "decline") else "already_done"
    if asked.verb == "transfer":
        return _transfer_obstacle(state, contact, asked)
    return ""


def _transfer_obstacle(state: State, contact: Contact, asked: events.AgentAsked) -> str:
    """Who gets the contact must be able to take it, now or later; a queue that is full or closed lets it wait."""
    queue = state.queues.get(asked.to_queue or contact.queue_id)
    if queue is None or queue.pool != contact.pool:
        return "unknown_queue"
    if contact.transfers >= queue.policy.transfers_max:
        return "too_many_transfers"
    need = both(queue_need(state, queue), _need_afterwards(contact, asked))
    if is_impossible(need):
        return "nobody_able"
    if not asked.to_agent:
        return ""
    agent = state.agents.get(asked.to_agent)
    if agent is None or agent.pool != contact.pool or asked.to_agent == asked.agent_id:
        return "unknown_agent"
    if agent.presence == "offline":
        return "agent_not_signed_in"
    traits = state.profile_of[agent.agent_id].traits._replace(agent=agent.agent_id)
    if not is_met(need, traits) or not could_ever_take(agent, demand_of(queue, contact.channel)):
        return "agent_not_able"
    return ""


def _need_afterwards(contact: Contact, asked: events.AgentAsked) -> Need:
    """What the contact itself asks for once it is passed on."""
    if asked.need is None:
        return contact.need
    return asked.need if asked.to_queue else both(contact.need, asked.need)


def _pause(state: State, contact: Contact, offer: Offer, command_id: str, decided: list[Output]) -> None:
    """The agent has capacity for others meanwhile."""
    agent = state.agents[offer.agent_id]
    agent.work.pop(contact.contact_id)
    agent.paused.append(contact.contact_id)
    offer.unit_numbers = ()
    contact.awaits_response, contact.due_ms = False, None
    move(state, contact, decisions.Paused(**attempted(contact, offer), command_id=command_id), decided)
    touch_agent(state, agent)


def _resume(state: State, contact: Contact, offer: Offer, command_id: str, decided: list[Output]) -> None:
    """Go on at once if there is room; else the agent's next capacity is kept for it, for a bounded time.

    It is kept for one contact at a time: a newer wish takes the place of one that is not granted yet, which is refused.
    """
    agent = state.agents[offer.agent_id]
    if agent.resuming:
        give_up_resuming(state, state.contacts[agent.resuming], decided)
    contact.resume_command = command_id
    agent.resuming = contact.contact_id
    if try_resuming(state, contact, decided):
        return
    state.resuming[agent.agent_id] = None
    contact.due_ms = state.now_ms + state.queues[contact.queue_id].policy.resume_hold_ms
    wake_at(state, contact, contact.due_ms)
    state.touched_contacts[contact.contact_id] = contact
    touch_agent(state, agent)


def resume_waiting(state: State, decided: list[Output]) -> None:
    """Agents whose next capacity is kept for a paused contact: take it up where there is room now."""
    for agent_id in list(state.resuming):
        contact = state.contacts.get(state.agents[agent_id].resuming)
        if contact is None or try_resuming(state, contact, decided):
            del state.resuming[agent_id]


def try_resuming(state: State, contact: Contact, decided: list[Output]) -> bool:
    """Take the contact up again if its agent has room for it now."""
    offer = contact.holding
    assert offer is not None, contact
    agent = state.agents[offer.agent_id]
    agent.resuming = ""
    queue = state.queues[contact.queue_id]
    demand = demand_of(queue, contact.channel)._replace(link_score_min=0, handle_ms=0, premium=True, fair=None)
    if obstacle(agent, demand, state.now_ms) in ("capacity", "channel_max"):
        agent.resuming = contact.contact_id
        return False
    bind_to_queue(state, contact, decided)
    numbers, offer.over = allot(agent, demand)
    agent.work[contact.contact_id] = (contact.channel, numbers)
    agent.paused.remove(contact.contact_id)
    offer.unit_numbers = numbers
    contact.due_ms = None
    resumed = decisions.Resumed(
        **attempted(contact, offer),
        command_id=contact.resume_command,
        unit_numbers=numbers,
        session_no=agent.session_no,
        seq=agent.seq,
        queue_version=queue.version,
        capacity=agent.units,
        over=offer.over,
    )
    contact.resume_command = ""
    move(state, contact, resumed, decided)
    touch_agent(state, agent)
    return True


def _transfer(state: State, contact: Contact, offer: Offer, asked: events.AgentAsked, decided: list[Output]) -> None:
    """Pass the contact on, its age kept; the agent who passed it on is not asked again for a while."""
    from_queue = contact.queue_id
    contact.queue_id = asked.to_queue or contact.queue_id
    contact.transfers += 1
    contact.named_agent = asked.to_agent
    contact.scores = None
    contact.need = _need_afterwards(contact, asked)
    queue = state.queues[contact.queue_id]
    set_aside(state, contact, offer.agent_id, queue.policy.offers.decline_memory_ms, why="passed_on")
    passed = decisions.Transferred(
        **attempted(contact, offer), command_id=asked.command_id, from_queue=from_queue, to_agent=asked.to_agent
    )
    release(state, contact, offer, passed, decided, worked=True)
    enter_queue(state, contact, contact.queue_id, decided)
    shorten_aside(state, contact, offer.agent_id)
