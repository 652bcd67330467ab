"""Contract to core and back, pure: the only file that knows both languages."""

import msgspec

from common.contracts import agents, codec, config, contacts, routing
from router.core import inputs, outputs
from router.core.values import Queue

_VERBS = {
    agents.AcceptRequested: "accept",
    agents.DeclineRequested: "decline",
    agents.CompleteRequested: "complete",
    agents.WrapUpEndRequested: "end_wrap_up",
}


def queue_from(fact: config.QueueDefined) -> Queue:
    """The core's queue."""
    return Queue(
        queue_id=fact.queue,
        pool=fact.pool,
        version=fact.version,
        requirements=tuple(sorted((r.skill, r.min_level) for r in fact.requirements)),
        priority=fact.priority,
        offer_timeout_ms=fact.offer_timeout_ms,
        wrap_up_ms=fact.wrap_up_ms,
        link_grace_ms=fact.link_grace_ms,
        service_level_ms=fact.service_level_ms,
    )


def input_from(fact: msgspec.Struct) -> inputs.Input | None:
    """What the core is told because of a fact; None when it is none of its business."""
    match fact:
        case contacts.ContactSubmitted():
            return inputs.ContactArrived(
                contact_id=fact.contact_id,
                queue_id=fact.queue,
                pool=fact.pool,
                channel=fact.channel,
                priority=fact.priority,
                requirements=tuple((r.skill, r.min_level) for r in fact.requirements),
                accepted_at_ms=fact.accepted_at_ms,
            )
        case contacts.CancelRequested():
            return inputs.CancelAsked(contact_id=fact.contact_id, reason=fact.reason)
        case agents.AgentPicture():
            return inputs.AgentSeen(
                agent_id=fact.agent_id,
                pool=fact.pool,
                session_no=fact.session_no,
                seq=fact.seq,
                presence=fact.presence,
                skills=tuple(sorted(fact.skills.items())),
                units=fact.units,
                link_lost=isinstance(fact, agents.SessionEnded) and fact.reason == "lease_expired",
            )
        case agents.AgentCommand():
            return inputs.AgentAsked(
                verb=_VERBS[type(fact)],
                command_id=fact.command_id,
                agent_id=fact.agent_id,
                pool=fact.pool,
                session_no=fact.session_no,
                contact_id=fact.contact_id,
                attempt=fact.attempt,
            )
        case config.QueueDefined():
            return inputs.QueueSet(queue=queue_from(fact))
        case _:
            return None


_FACTS: dict[type[object], type[msgspec.Struct]] = {
    outputs.Queued: routing.ContactQueued,
    outputs.Offered: routing.OfferMade,
    outputs.Accepted: routing.OfferAccepted,
    outputs.Declined: routing.OfferDeclined,
    outputs.TimedOut: routing.OfferTimedOut,
    outputs.Rescinded: routing.OfferRescinded,
    outputs.LinkWasLost: routing.LinkLost,
    outputs.LinkWasRestored: routing.LinkRestored,
    outputs.Requeued: routing.ContactRequeued,
    outputs.WrapUpBegan: routing.WrapUpStarted,
    outputs.Completed: routing.ContactCompleted,
    outputs.Abandoned: routing.ContactAbandoned,
    outputs.Cancelled: routing.ContactCancelled,
    outputs.AgentRouting: routing.AgentRoutingChanged,
    outputs.Refused: routing.CommandRefused,
}


def fact_from(output: outputs.Output, *, at_ms: int) -> routing.RoutingFact:
    """The fact that says what the core decided."""
    fields: dict[str, object] = {
        name: getattr(output, name) for name in output.__dataclass_fields__ if name != "queue_id"
    }
    if isinstance(output, outputs.ContactDecision):
        fields["queue"] = output.queue_id
    if isinstance(output, outputs.Offered):
        fields["units"] = len(output.unit_numbers)
        del fields["unit_numbers"]
    return _FACTS[type(output)](**fields, at_ms=at_ms)  # type: ignore[return-value]


def key_of(output: outputs.Output) -> str:
    """The record's key: whom the fact is about."""
    if isinstance(output, outputs.AgentRouting):
        return output.agent_id
    return output.contact_id


def body_of(fact: msgspec.Struct) -> str:
    """The fact's JSON."""
    return codec.encode(fact).decode()
