"""What the core decided, in order. Each one becomes one line of the routing log and one fact."""

import msgspec


class ContactDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Something about one contact. `queue_id` and `pool` are the contact's."""

    contact_id: str
    queue_id: str
    pool: str


class Scheduled(ContactDecision, frozen=True, kw_only=True):
    channel: str
    priority: int
    accepted_at_ms: int
    due_ms: int


class Queued(ContactDecision, frozen=True, kw_only=True):
    channel: str
    priority: int
    units: int
    accepted_at_ms: int
    routing_age_at_ms: int


class StepJoined(ContactDecision, frozen=True, kw_only=True):
    step: int
    expires_at_ms: int


class StepExpired(ContactDecision, frozen=True, kw_only=True):
    step: int


class StepSkipped(ContactDecision, frozen=True, kw_only=True):
    step: int


class Escalated(ContactDecision, frozen=True, kw_only=True):
    priority: int
    waited_ms: int


class Moved(ContactDecision, frozen=True, kw_only=True):
    """The contact waits in another queue now; `queue_id` is the new one."""

    from_queue: str
    reason: str


class CallbackArranged(ContactDecision, frozen=True, kw_only=True):
    """`requested_at_ms`: the wish that is granted; 0 when nobody asked."""

    actor: str
    due_ms: int | None
    requested_at_ms: int


class Abandoned(ContactDecision, frozen=True, kw_only=True):
    reason: str


class Cancelled(ContactDecision, frozen=True, kw_only=True):
    reason: str


class Expired(ContactDecision, frozen=True, kw_only=True):
    waited_ms: int


class Overflowed(ContactDecision, frozen=True, kw_only=True):
    """The end, with a message for the customer."""

    reason: str
    message: str


class AttemptDecision(ContactDecision, frozen=True, kw_only=True):
    """A transition of one attempt: an offer and what became of it."""

    attempt: int
    agent_id: str


class Offered(AttemptDecision, frozen=True, kw_only=True):
    """`unit_numbers` are the agent's capacity units that the contact takes; `over`: why more than it has, if so.

    `session_no` and `seq` say which picture of the agent counted, `queue_version` which policy, `capacity` is the agent's.
    """

    session_no: int
    seq: int
    queue_version: int
    capacity: int
    channel: str
    priority: int
    unit_numbers: tuple[int, ...]
    routing_age_at_ms: int
    expires_at_ms: int
    score: int
    over: str


class Accepted(AttemptDecision, frozen=True, kw_only=True):
    command_id: str


class Declined(AttemptDecision, frozen=True, kw_only=True):
    """`still_out`: other offers of the contact that are not answered yet."""

    command_id: str
    still_out: int


class TimedOut(AttemptDecision, frozen=True, kw_only=True):
    still_out: int


class Rescinded(AttemptDecision, frozen=True, kw_only=True):
    reason: str
    still_out: int


class LinkWasLost(AttemptDecision, frozen=True, kw_only=True):
    held_until_ms: int


class LinkWasRestored(AttemptDecision, frozen=True, kw_only=True):
    """`state`: what it is again, assigned or paused."""

    state: str


class Requeued(AttemptDecision, frozen=True, kw_only=True):
    reason: str


class Responded(AttemptDecision, frozen=True, kw_only=True):
    command_id: str


class Paused(AttemptDecision, frozen=True, kw_only=True):
    command_id: str


class Resumed(AttemptDecision, frozen=True, kw_only=True):
    """`unit_numbers` and what follows as in `Offered`."""

    command_id: str
    unit_numbers: tuple[int, ...]
    session_no: int
    seq: int
    queue_version: int
    capacity: int
    over: str


class Transferred(AttemptDecision, frozen=True, kw_only=True):
    """The agent passed the contact on; `queue_id` is where it waits now."""

    command_id: str
    from_queue: str
    to_agent: str


class WrapUpBegan(AttemptDecision, frozen=True, kw_only=True):
    ends_at_ms: int
    actor: str
    command_id: str


class Completed(AttemptDecision, frozen=True, kw_only=True):
    actor: str
    reason: str
    command_id: str


class AgentRouting(msgspec.Struct, frozen=True, kw_only=True):
    """What the router may do with the agent changed."""

    agent_id: str
    pool: str
    session_no: int
    routing_state: str
    reason: str


class OfferDenied(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps every contact of the pool from an agent who is ready; empty: nothing does any more. Said when it changes.

    `break_due`, `shift_ends`, `premium_hours`, `hours_denied` or the reason that planning gave for it, `link_score` (below what
    every queue asks), `capacity` (fewer units than any contact takes), `channel_max`, `fair_share`.
    """

    agent_id: str
    pool: str
    session_no: int
    reason: str


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A command that came too late or was not the agent's to give."""

    command_id: str
    agent_id: str
    pool: str
    contact_id: str
    attempt: int
    reason: str
    detail: str = ""


ContactOutput = (
    Scheduled
    | Queued
    | StepJoined
    | StepExpired
    | StepSkipped
    | Escalated
    | Moved
    | CallbackArranged
    | Abandoned
    | Cancelled
    | Expired
    | Overflowed
    | Offered
    | Accepted
    | Declined
    | TimedOut
    | Rescinded
    | LinkWasLost
    | LinkWasRestored
    | Requeued
    | Responded
    | Paused
    | Resumed
    | Transferred
    | WrapUpBegan
    | Completed
)
Output = ContactOutput | AgentRouting | OfferDenied | Refused
RELEASES = (Declined, TimedOut, Rescinded, Requeued, Transferred, Completed)
"""Outputs after which the attempt holds no capacity and no assignment any more."""
