"""Contract to core and back, pure: the only file that knows both languages."""

import msgspec

from common.contracts import agents, codec, config, contacts, routing
from router.core.model import decisions, events
from router.core.model.queue import Queue
from router.core.rules.criteria import both, skills_need

_VERBS = {
    agents.AcceptRequested: "accept",
    agents.DeclineRequested: "decline",
    agents.RespondRequested: "respond",
    agents.PauseRequested: "pause",
    agents.ResumeRequested: "resume",
    agents.TransferRequested: "transfer",
    agents.CompleteRequested: "complete",
    agents.WrapUpEndRequested: "end_wrap_up",
}


def queue_from(fact: config.QueueDefined) -> Queue:
    """The core's queue."""
    return Queue(
        queue_id=fact.queue,
        pool=fact.pool,
        version=fact.version,
        need=both(
            skills_need(tuple(sorted((r.skill, r.min_level) for r in fact.requirements))),
            fact.policy.need,
        ),
        policy=fact.policy,
        priority=fact.priority,
        offer_timeout_ms=fact.offer_timeout_ms,
        wrap_up_ms=fact.wrap_up_ms,
        link_grace_ms=fact.link_grace_ms,
        service_level_ms=fact.service_level_ms,
    )


def input_from(fact: msgspec.Struct, *, correlation: str = "") -> events.Input | None:
    """What the core is told because of a fact; None when it is none of its business."""
    match fact:
        case contacts.ContactSubmitted():
            return events.ContactArrived(
                contact_id=fact.contact_id,
                queue_id=fact.queue,
                pool=fact.pool,
                channel=fact.channel,
                priority=fact.priority,
                requirements=tuple((r.skill, r.min_level) for r in fact.requirements),
                accepted_at_ms=fact.accepted_at_ms,
                need=fact.need,
                customer=fact.customer,
                last_agent=fact.last_agent,
                account_team=fact.account_team,
                named_agent=fact.named_agent,
                not_before_ms=fact.not_before_ms,
                correlation=correlation,
            )
        case contacts.CancelRequested():
            return events.CancelAsked(contact_id=fact.contact_id, reason=fact.reason)
        case contacts.CallbackRequested():
            return events.CallbackAsked(
                contact_id=fact.contact_id, not_before_ms=fact.not_before_ms, requested_at_ms=fact.requested_at_ms
            )
        case agents.AgentPicture():
            return events.AgentSeen(
                agent_id=fact.agent_id,
                pool=fact.pool,
                session_no=fact.session_no,
                seq=fact.seq,
                presence=fact.presence,
                skills=tuple(sorted(fact.skills.items())),
                units=fact.units,
                link_lost=isinstance(fact, agents.SessionEnded) and fact.reason == "lease_expired",
                languages=fact.languages,
                region=fact.region,
                attributes=tuple(sorted(fact.attributes.items())),
                channel_max=tuple(sorted(fact.channel_max.items())),
                link_score=fact.link_score,
                auto_accept=fact.auto_accept,
                offer_extra_ms=fact.offer_extra_ms,
                shift_ends_ms=fact.shift_ends_ms,
                break_due_ms=fact.break_due_ms,
                premium_from_ms=fact.premium_from_ms,
                denied_from_ms=fact.denied_from_ms,
                denied_reason=fact.denied_reason,
            )
        case agents.AgentCommand():
            passed_on = fact if isinstance(fact, agents.TransferRequested) else None
            return events.AgentAsked(
                verb=_VERBS[type(fact)],
                command_id=fact.command_id,
                agent_id=fact.agent_id,
                pool=fact.pool,
                session_no=fact.session_no,
                contact_id=fact.contact_id,
                attempt=fact.attempt,
                to_queue="" if passed_on is None else passed_on.to_queue,
                to_agent="" if passed_on is None else passed_on.to_agent,
                need=None if passed_on is None else passed_on.need,
            )
        case config.QueueDefined():
            return events.QueueSet(queue=queue_from(fact))
        case _:
            return None


_FACTS: dict[type[object], type[msgspec.Struct]] = {
    decisions.Scheduled: routing.ContactScheduled,
    decisions.Queued: routing.ContactQueued,
    decisions.StepJoined: routing.StepJoined,
    decisions.StepExpired: routing.StepExpired,
    decisions.StepSkipped: routing.StepSkipped,
    decisions.Escalated: routing.ContactEscalated,
    decisions.Moved: routing.ContactMoved,
    decisions.CallbackArranged: routing.CallbackArranged,
    decisions.Expired: routing.ContactExpired,
    decisions.Overflowed: routing.ContactOverflowed,
    decisions.Responded: routing.ContactResponded,
    decisions.Paused: routing.ContactPaused,
    decisions.Resumed: routing.ContactResumed,
    decisions.Transferred: routing.ContactTransferred,
    decisions.OfferDenied: routing.OfferDenied,
    decisions.Offered: routing.OfferMade,
    decisions.Accepted: routing.OfferAccepted,
    decisions.Declined: routing.OfferDeclined,
    decisions.TimedOut: routing.OfferTimedOut,
    decisions.Rescinded: routing.OfferRescinded,
    decisions.LinkWasLost: routing.LinkLost,
    decisions.LinkWasRestored: routing.LinkRestored,
    decisions.Requeued: routing.ContactRequeued,
    decisions.WrapUpBegan: routing.WrapUpStarted,
    decisions.Completed: routing.ContactCompleted,
    decisions.Abandoned: routing.ContactAbandoned,
    decisions.Cancelled: routing.ContactCancelled,
    decisions.AgentRouting: routing.AgentRoutingChanged,
    decisions.Refused: routing.CommandRefused,
}


def fact_from(output: decisions.Output, *, at_ms: int) -> routing.RoutingFact:
    """The fact that says what the core decided."""
    fields: dict[str, object] = {name: getattr(output, name) for name in output.__struct_fields__ if name != "queue_id"}
    if isinstance(output, decisions.ContactDecision):
        fields["queue"] = output.queue_id
    if isinstance(output, (decisions.Offered, decisions.Resumed)):
        fields["units"] = len(fields.pop("unit_numbers"))  # type: ignore[arg-type]
        fields["exceeds"] = bool(fields.pop("over"))
        fields["agent_seq"] = fields.pop("seq")
        del fields["capacity"]
    return _FACTS[type(output)](**fields, at_ms=at_ms)  # type: ignore[return-value]


def key_of(output: decisions.Output) -> str:
    """The record's key: whom the fact is about."""
    if isinstance(output, (decisions.AgentRouting, decisions.OfferDenied)):
        return output.agent_id
    return output.contact_id


def body_of(fact: msgspec.Struct) -> str:
    """The fact's JSON."""
    return codec.encode(fact).decode()
