"""From facts to rows, pure. The grain is the segment: one stay of a contact in a queue or with an agent.

A contact waits exactly while its open segment is of kind `queue`, and takes capacity of an agent exactly while it is of kind
`agent`; all figures rest on that, and none on the contact's first or present queue.
"""

from dataclasses import dataclass, replace

from common.contracts import routing


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRow:
    """A contact. `answered_at_ms`: first time an agent had it. `segments`: how many it has had.

    `units`: capacity units that it takes, as its last offer said; 0 before it was due.
    """

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
    """`wrap_up_at_ms`: when the conversation ended and wrap-up began. `end_reason`: the fact's own, or one of these below.

    `kind`: `scheduled` (kept until it is due, nobody waits), `queue` (waits, offers included), `agent` (held, its units taken,
    wrap-up included), `paused` (held, its units free for others).
    """

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


ANSWERED, TRANSFERRED, MOVED, DUE = "answered", "transferred", "overflow", "due"
CALLBACK, PAUSED, RESUMED = "callback", "paused", "resumed"
"""Why a segment ended where the contact went on."""


def begin(fact: routing.ContactQueued | routing.ContactScheduled) -> Folded:
    """The first that is heard of a contact: it waits since intake accepted it, or since it was due; or is kept until then."""
    scheduled = isinstance(fact, routing.ContactScheduled)
    contact = ContactRow(
        contact_id=fact.contact_id,
        pool=fact.pool,
        queue=fact.queue,
        channel=fact.channel,
        units=0 if isinstance(fact, routing.ContactScheduled) else fact.units,
        state="scheduled" if scheduled else "queued",
        accepted_at_ms=fact.accepted_at_ms,
        answered_at_ms=None,
        ended_at_ms=None,
        attempts=0,
        segments=0,
    )
    if isinstance(fact, routing.ContactScheduled):
        return _opened(contact, None, kind="scheduled", at_ms=fact.accepted_at_ms)
    return _opened(contact, None, kind="queue", at_ms=max(fact.accepted_at_ms, fact.routing_age_at_ms))


def fold(before: Folded, fact: routing.RoutingFactBase) -> Folded:
    """The next fact of a contact that has begun."""
    contact, segment = before.contact, before.open
    match fact:
        case routing.OfferMade():
            contact = replace(contact, state="offered", attempts=fact.attempt, units=fact.units)
            return Folded(contact=contact, open=segment)
        case routing.OfferDeclined() | routing.OfferTimedOut() | routing.OfferRescinded():
            state = "offered" if fact.still_out else "queued"
            return Folded(contact=replace(contact, state=state), open=segment)
        case routing.ContactQueued() | routing.ContactScheduled() | routing.CallbackArranged():
            return _timed(before, fact)
        case routing.ContactMoved():
            contact = replace(contact, state="queued", queue=fact.queue)
            return _opened(contact, _closed(segment, fact.at_ms, MOVED), kind="queue", at_ms=fact.at_ms)
        case routing.ContactTransferred():
            contact = replace(contact, state="queued", queue=fact.queue)
            return _opened(contact, _closed(segment, fact.at_ms, TRANSFERRED), kind="queue", at_ms=fact.at_ms)
        case routing.OfferAccepted():
            answered = contact.answered_at_ms or fact.at_ms
            contact = replace(contact, state="assigned", answered_at_ms=answered)
            closed = _closed(segment, fact.at_ms, ANSWERED)
            return _opened(contact, closed, kind="agent", agent_id=fact.agent_id, at_ms=fact.at_ms)
        case routing.ContactPaused():
            closed = _closed(segment, fact.at_ms, PAUSED)
            contact = replace(contact, state="paused")
            return _opened(contact, closed, kind="paused", agent_id=fact.agent_id, at_ms=fact.at_ms, units=0)
        case routing.ContactResumed():
            closed = _closed(segment, fact.at_ms, RESUMED)
            contact = replace(contact, state="assigned", units=fact.units)
            return _opened(contact, closed, kind="agent", agent_id=fact.agent_id, at_ms=fact.at_ms)
        case routing.LinkLost():
            return Folded(contact=replace(contact, state="link_lost"), open=segment)
        case routing.LinkRestored():
            paused = segment is not None and segment.kind == "paused"
            return Folded(contact=replace(contact, state="paused" if paused else "assigned"), open=segment)
        case routing.ContactRequeued():
            closed = _closed(segment, fact.at_ms, fact.reason)
            return _opened(replace(contact, state="queued"), closed, kind="queue", at_ms=fact.at_ms)
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
)
"""Facts that begin and end no segment."""


def _timed(before: Folded, fact: routing.ContactQueued | routing.ContactScheduled | routing.CallbackArranged) -> Folded:
    """A contact that is known is kept until a later time, or its time has come."""
    contact, segment = before.contact, before.open
    kept = contact.state == "scheduled"
    match fact:
        case routing.ContactQueued():
            if not kept:
                return Folded(contact=replace(contact, state="queued"), open=segment)
            began_ms = fact.at_ms if segment is None else segment.started_at_ms
            due_ms = fact.routing_age_at_ms if fact.routing_age_at_ms >= began_ms else fact.at_ms
            contact = replace(contact, state="queued", queue=fact.queue, channel=fact.channel, units=fact.units)
            return _opened(contact, _closed(segment, due_ms, DUE), kind="queue", at_ms=due_ms)
        case routing.CallbackArranged():
            contact = replace(contact, channel="callback")
            if fact.due_ms is None:
                return Folded(contact=replace(contact, state="queued"), open=segment)
    contact = replace(contact, state="scheduled")
    if kept:
        return Folded(contact=contact, open=segment)  # another time: the same stay
    return _opened(contact, _closed(segment, fact.at_ms, CALLBACK), kind="scheduled", at_ms=fact.at_ms)


def _opened(
    contact: ContactRow, closed: Segment | None, *, kind: str, at_ms: int, agent_id: str = "", units: int | None = None
) -> Folded:
    contact = replace(contact, segments=contact.segments + 1)
    segment = Segment(
        contact_id=contact.contact_id,
        no=contact.segments,
        kind=kind,
        pool=contact.pool,
        queue=contact.queue,
        agent_id=agent_id,
        units=contact.units if units is None else units,
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
