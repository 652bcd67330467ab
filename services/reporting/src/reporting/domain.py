"""From facts to rows, pure. The grain is the segment: one stay of a contact in a queue or with an agent."""

from dataclasses import dataclass, replace

from common.contracts import routing


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRow:
    """A contact. `answered_at_ms`: first time an agent had it. `segments`: how many it has had."""

    contact_id: str
    pool: str
    queue: str
    channel: str
    units: int
    state: str
    accepted_at_ms: int
    answered_at_ms: int | None
    ended_at_ms: int | None
    attempts: int
    segments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """`kind`: queue or agent. `wrap_up_at_ms`: when the conversation ended and wrap-up began."""

    contact_id: str
    no: int
    kind: str
    pool: str
    queue: str
    agent_id: str
    units: int
    started_at_ms: int
    wrap_up_at_ms: int | None
    ended_at_ms: int | None
    end_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """A contact after a fact, its open segment, and the segment that the fact closed."""

    contact: ContactRow
    open: Segment | None
    closed: Segment | None = None


def begin(fact: routing.ContactQueued) -> Folded:
    """A contact joins its queue; its wait began when intake accepted it."""
    contact = ContactRow(
        contact_id=fact.contact_id,
        pool=fact.pool,
        queue=fact.queue,
        channel=fact.channel,
        units=fact.units,
        state="queued",
        accepted_at_ms=fact.accepted_at_ms,
        answered_at_ms=None,
        ended_at_ms=None,
        attempts=0,
        segments=0,
    )
    return _opened(contact, None, kind="queue", agent_id="", at_ms=fact.routing_age_at_ms)


def fold(before: Folded, fact: routing.RoutingFactBase) -> Folded:
    """The next fact of a contact that has begun."""
    contact, segment = before.contact, before.open
    match fact:
        case routing.OfferMade():
            return Folded(contact=replace(contact, state="offered", attempts=fact.attempt), open=segment)
        case routing.OfferDeclined() | routing.OfferTimedOut() | routing.OfferRescinded():
            state = "offered" if fact.still_out else "queued"
            return Folded(contact=replace(contact, state=state), open=segment)
        case routing.ContactQueued():
            return Folded(contact=replace(contact, state="queued"), open=segment)
        case routing.CallbackArranged():
            state = "queued" if fact.due_ms is None else "scheduled"
            return Folded(contact=replace(contact, state=state, channel="callback"), open=segment)
        case routing.ContactMoved() | routing.ContactTransferred():
            reason = "transferred" if isinstance(fact, routing.ContactTransferred) else fact.reason
            closed = _closed(segment, fact.at_ms, reason)
            contact = replace(contact, state="queued", queue=fact.queue)
            return _opened(contact, closed, kind="queue", agent_id="", at_ms=fact.at_ms)
        case routing.OfferAccepted():
            answered = contact.answered_at_ms or fact.at_ms
            contact = replace(contact, state="assigned", answered_at_ms=answered)
            closed = _closed(segment, fact.at_ms, "answered")
            return _opened(contact, closed, kind="agent", agent_id=fact.agent_id, at_ms=fact.at_ms)
        case routing.ContactPaused():
            return Folded(contact=replace(contact, state="paused"), open=segment)
        case routing.ContactResumed():
            return Folded(contact=replace(contact, state="assigned"), open=segment)
        case routing.LinkLost():
            return Folded(contact=replace(contact, state="link_lost"), open=segment)
        case routing.LinkRestored():
            return Folded(contact=replace(contact, state="assigned"), open=segment)
        case routing.ContactRequeued():
            closed = _closed(segment, fact.at_ms, fact.reason)
            return _opened(replace(contact, state="queued"), closed, kind="queue", agent_id="", at_ms=fact.at_ms)
        case routing.WrapUpStarted():
            open_segment = None if segment is None else replace(segment, wrap_up_at_ms=fact.at_ms)
            return Folded(contact=replace(contact, state="wrap_up"), open=open_segment)
        case routing.ContactCompleted():
            return _ended(contact, segment, "completed", fact.reason, fact.at_ms)
        case routing.ContactAbandoned():
            return _ended(contact, segment, "abandoned", fact.reason, fact.at_ms)
        case routing.ContactCancelled():
            return _ended(contact, segment, "cancelled", fact.reason, fact.at_ms)
        case routing.ContactExpired():
            return _ended(contact, segment, "expired", "expired", fact.at_ms)
        case routing.ContactOverflowed():
            return _ended(contact, segment, "overflowed", fact.reason, fact.at_ms)
        case _:
            assert isinstance(fact, ASIDE), f"no fold for {type(fact).__name__}"
            return before


ASIDE = (
    routing.StepJoined,
    routing.StepExpired,
    routing.StepSkipped,
    routing.ContactEscalated,
    routing.ContactResponded,
    routing.ContactScheduled,
)
"""Facts that begin and end no segment."""


def _opened(contact: ContactRow, closed: Segment | None, *, kind: str, agent_id: str, at_ms: int) -> Folded:
    contact = replace(contact, segments=contact.segments + 1)
    segment = Segment(
        contact_id=contact.contact_id,
        no=contact.segments,
        kind=kind,
        pool=contact.pool,
        queue=contact.queue,
        agent_id=agent_id,
        units=contact.units,
        started_at_ms=at_ms,
        wrap_up_at_ms=None,
        ended_at_ms=None,
        end_reason="",
    )
    return Folded(contact=contact, open=segment, closed=closed)


def _closed(segment: Segment | None, at_ms: int, reason: str) -> Segment | None:
    return None if segment is None else replace(segment, ended_at_ms=at_ms, end_reason=reason)


def _ended(contact: ContactRow, segment: Segment | None, state: str, reason: str, at_ms: int) -> Folded:
    return Folded(
        contact=replace(contact, state=state, ended_at_ms=at_ms),
        open=None,
        closed=_closed(segment, at_ms, reason),
    )
