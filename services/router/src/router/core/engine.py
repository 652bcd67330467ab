"""`step`: one input in, decisions out. The one switch of the router."""

from collections.abc import Callable
from heapq import heappop
from typing import Any

from router.core.index.agents import say_denials
from router.core.index.state import State
from router.core.invariants import check_touched
from router.core.lifecycle.agent import note_elsewhere, see_agent
from router.core.lifecycle.changes import touch_agent
from router.core.lifecycle.commands import answer, resume_waiting
from router.core.lifecycle.contact import arrive, ask_callback, cancel, offer, run_out
from router.core.lifecycle.fast_path import decide_everyday
from router.core.lifecycle.queue import check_borrowing, check_queues, open_queue, set_queue, turn_away
from router.core.matching.bursts import may_have, release_bursts
from router.core.matching.pairs import look_at_headroom, next_match
from router.core.model import events
from router.core.model.decisions import Output


def step(state: State, told: events.Input, now_ms: int) -> tuple[Output, ...]:
    """Change `state` by what was told at `now_ms`, and return what was decided, in order.

    What is due by `now_ms` happens first, so that an answer that came too late is too late. Raises `AssertionError`
    when an invariant does not hold afterwards: the state must not be used any more.
    """
    contacts, agents = state.touched_contacts, state.touched_agents
    state.touched_contacts, state.touched_agents = {}, {}
    decided = decide(state, told, now_ms)
    check_touched(state)
    contacts.update(state.touched_contacts)
    agents.update(state.touched_agents)
    state.touched_contacts, state.touched_agents = contacts, agents
    return tuple(decided)


def decide(state: State, told: events.Input, now_ms: int) -> list[Output]:
    """`step` without the check of the invariants."""
    state.now_ms = now_ms
    decided: list[Output] = []
    if state.timers and state.timers[0][0] <= now_ms:
        _ring(state, decided)
        _match(state, decided)  # what became due is decided before what is told, as if a tick had come just before
    HANDLERS[type(told)](state, told, decided)
    if state.timers and state.timers[0][0] <= now_ms:
        _ring(state, decided)
    _match(state, decided)
    return decided


def _match(state: State, decided: list[Output]) -> None:
    """Let contacts and agents find each other, and queues act, until nothing that changed can change any more."""
    if state.entered and state.closed:
        turn_away(state, decided)
    if state.resuming:
        resume_waiting(state, decided)
    if state.newcomer is not None or state.freed is not None:
        decide_everyday(state, decided)
    # It ends: an offer takes a contact out of its queue for the rest of the step, a contact moves `MOVES_MAX` times in its
    # life, and a round in which nothing of both happened leaves nothing to look at. Many may match in one step.
    for queue_id in state.busy_aware:
        state.dirty_queues[queue_id] = None
    while True:
        if state.entered and state.closed:
            turn_away(state, decided)
        if state.keeps_headroom and state.dirty_agents:
            look_at_headroom(state)
        while state.dirty_agents or state.dirty_groups:
            found = next_match(state)
            if found is None:
                break
            offer(state, found[0], found[1], decided)
            if state.borrowing:
                check_borrowing(state, state.dirty_queues, decided)  # the queue may need its lender no longer
        if not (state.entered or state.dirty_queues or state.dirty_groups or state.dirty_agents):
            break
        check_queues(state, decided)
    if state.denials:
        say_denials(state, decided)
    if state.said:
        decided.extend(state.said)
        state.said.clear()


def _ring(state: State, decided: list[Output]) -> None:
    """Everything that is due, each at its own time and in that order, however late the core is told."""
    now_ms = state.now_ms
    while state.timers and state.timers[0][0] <= now_ms:
        state.now_ms, kind, name = heappop(state.timers)
        state.ringing = (kind, name)
        if state.set_aside and state.ringing in state.set_aside:
            continue
        if kind == "contact":
            run_out(state, name, decided)
        elif kind == "agent":
            agent = state.agents.get(name)
            if agent is not None:
                touch_agent(state, agent)
        else:
            if name in state.to_judge:
                del state.to_judge[name]
                state.dirty_queues[name] = None
            for contact, chosen in release_bursts(state):
                if may_have(state, contact, chosen):
                    offer(state, contact, chosen, decided)
    state.ringing = None
    state.now_ms = now_ms


def _take_scores(state: State, told: events.ScoresGiven, _decided: list[Output]) -> None:
    """A scorer answered in time: its scores choose the agent. Too late, they count for the next offer."""
    contact = state.contacts.get(told.contact_id)
    if contact is None:
        return
    contact.scores, contact.scores_due_ms = told.scores, None
    state.to_score.pop(told.contact_id, None)
    state.touched_contacts[contact.contact_id] = contact
    if told.contact_id in state.place_of:
        state.dirty_groups[state.place_of[told.contact_id][0].no] = None


HANDLERS: dict[type[events.Input], Callable[[State, Any, list[Output]], None]] = {
    events.ContactArrived: arrive,
    events.AgentAsked: answer,
    events.AgentSeen: see_agent,
    events.UnitsElsewhere: note_elsewhere,
    events.CancelAsked: cancel,
    events.CallbackAsked: ask_callback,
    events.ScoresGiven: _take_scores,
    events.QueueSet: set_queue,
    events.QueueOpened: open_queue,
    events.Ticked: lambda _state, _told, _decided: None,
}
"""What each input does; a table and not a `match`, which tries one class after the other."""
