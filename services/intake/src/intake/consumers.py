"""What intake learns from facts: which queues and skills exist, and how its contacts fare."""

from collections.abc import Sequence

from common.contracts import config, routing
from common.runtime.bus import Incoming
from intake.domain import STATE_AFTER, KnownSession
from intake.ports import Projections


async def apply(tables: Projections, records: Sequence[Incoming]) -> None:
    """The effect of the facts, inside the caller's transaction."""
    states: dict[str, tuple[str, int, int, str]] = {}
    granted: dict[str, int] = {}
    sessions: dict[str, KnownSession] = {}
    for record in records:
        match record.fact:
            case config.QueueDefined() as fact:
                await tables.know_queue(fact)
            case config.SkillDefined() as fact:
                await tables.know_skill(fact.skill)
            case routing.AgentRoutingChanged() as fact:
                is_over = fact.routing_state == "offline"
                sessions[fact.agent_id] = KnownSession(session_no=fact.session_no, is_over=is_over)
            case routing.RoutingFactBase() as fact:
                if isinstance(fact, routing.CallbackArranged) and fact.requested_at_ms:
                    granted[fact.contact_id] = fact.requested_at_ms
                if type(fact) in STATE_AFTER:
                    states[fact.contact_id] = _state(fact, states.get(fact.contact_id))
    await tables.know_sessions(sessions)
    await tables.move_contacts(states)
    await tables.grant_callbacks(granted)


def _state(fact: routing.RoutingFactBase, before: tuple[str, int, int, str] | None) -> tuple[str, int, int, str]:
    state = STATE_AFTER[type(fact)]
    if getattr(fact, "still_out", 0):
        state = "offered"
    elif isinstance(fact, routing.LinkRestored):
        state = fact.state
    elif isinstance(fact, routing.CallbackArranged) and fact.due_ms is not None:
        state = "scheduled"
    attempt = getattr(fact, "attempt", before[2] if before else 0)
    return state, fact.at_ms, attempt, getattr(fact, "agent_id", "") if state != "queued" else ""
