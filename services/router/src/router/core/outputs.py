"""What the core decided, in order. Each one becomes one line of the routing log and one fact."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactDecision:
    """A transition of one contact. `queue_id` and `pool` are the contact's."""

    contact_id: str
    queue_id: str
    pool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued(ContactDecision):
    channel: str
    priority: int
    units: int
    accepted_at_ms: int
    routing_age_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDecision(ContactDecision):
    """A transition of one attempt: an offer and what became of it."""

    attempt: int
    agent_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered(AttemptDecision):
    """`unit_numbers` are the agent's capacity units that the contact takes."""

    session_no: int
    channel: str
    priority: int
    unit_numbers: tuple[int, ...]
    routing_age_at_ms: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(AttemptDecision):
    command_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined(AttemptDecision):
    command_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut(AttemptDecision):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescinded(AttemptDecision):
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkWasLost(AttemptDecision):
    held_until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkWasRestored(AttemptDecision):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeued(AttemptDecision):
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapUpBegan(AttemptDecision):
    ends_at_ms: int
    actor: str
    command_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed(AttemptDecision):
    actor: str
    reason: str
    command_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned(ContactDecision):
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(ContactDecision):
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRouting:
    """What the router may do with the agent changed."""

    agent_id: str
    pool: str
    session_no: int
    routing_state: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A command that came too late or was not the agent's to give."""

    command_id: str
    agent_id: str
    pool: str
    contact_id: str
    attempt: int
    reason: str


ContactOutput = (
    Queued
    | Offered
    | Accepted
    | Declined
    | TimedOut
    | Rescinded
    | LinkWasLost
    | LinkWasRestored
    | Requeued
    | WrapUpBegan
    | Completed
    | Abandoned
    | Cancelled
)
Output = ContactOutput | AgentRouting | Refused
RELEASES = (Declined, TimedOut, Rescinded, Requeued, Completed)
"""Outputs after which the attempt holds no capacity and no assignment any more."""
