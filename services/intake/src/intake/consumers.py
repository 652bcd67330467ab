"""What intake learns from facts: which queues and skills exist, and how its contacts fare."""

from collections.abc import Sequence

from common.contracts import config, routing
from common.runtime.bus import Incoming
from intake.domain import STATE_AFTER, KnownSession, Standing
from intake.ports import Projections


async def apply(tables: Projections, records: Sequence[Incoming]) -> None:
    """The effect of the facts, inside the caller's transaction."""
    standings: dict[str, Standing] = {}
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
                    standings[fact.contact_id] = _standing(fact, standings.get(fact.contact_id))
    await tables.know_sessions(sessions)
    await tables.move_contacts(standings)
    await tables.grant_callbacks(granted)


def _standing(fact: routing.RoutingFactBase, before: Standing | None) -> Standing:
    state = STATE_AFTER[type(fact)]
    if getattr(fact, "still_out", 0):
        state = "offered"
    elif isinstance(fact, routing.LinkRestored):
        state = fact.state
    elif isinstance(fact, routing.CallbackArranged) and fact.due_ms is not None:
        state = "scheduled"
    return Standing(
        state=state,
        at_ms=fact.at_ms,
        attempt=getattr(fact, "attempt", before.attempt if before else 0),
        agent_id=getattr(fact, "agent_id", "") if state != "queued" else "",
        queue=fact.queue,
    )
