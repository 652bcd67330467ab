"""`step`: one input in, decisions out. The one switch of the router."""

from heapq import heappop

from router.core import inputs, outputs
from router.core.agents import answer, see_agent
from router.core.contacts import arrive, cancel, offer, run_out
from router.core.invariants import check_touched
from router.core.matching import next_match
from router.core.state import State


def step(state: State, told: inputs.Input, now_ms: int) -> tuple[outputs.Output, ...]:
    """Change `state` by what was told at `now_ms`, and return what was decided, in order.

    What is due by `now_ms` happens first, so that an answer that came too late is too late. Raises `AssertionError`
    when an invariant does not hold afterwards: the state must not be used any more.
    """
    decided: list[outputs.Output] = []
    while state.timers and state.timers[0][0] <= now_ms:
        _, contact_id = heappop(state.timers)
        run_out(state, contact_id, now_ms, decided)
    match told:
        case inputs.ContactArrived():
            arrive(state, told, decided)
        case inputs.AgentAsked():
            answer(state, told, now_ms, decided)
        case inputs.AgentSeen():
            see_agent(state, told, now_ms, decided)
        case inputs.CancelAsked():
            cancel(state, told, now_ms, decided)
        case inputs.QueueSet():
            known = state.queues.get(told.queue.queue_id)
            if known is None or known.version < told.queue.version:
                state.queues[told.queue.queue_id] = told.queue
        case inputs.Ticked():
            pass
    while (found := next_match(state)) is not None:
        offer(state, *found, now_ms, decided)
    check_touched(state)
    return tuple(decided)
