"""Facts of `routing.v1`. Owner: router. The committed log of each shard, in order and without a gap.

Each transition of a contact is one fact with reason and actor. `command_id` names the agent's command that caused it,
so that whoever waits for an answer finds it.
"""

from typing import Literal

import msgspec

from common.contracts.contacts import CancelReason, Channel

Actor = Literal["customer", "integration", "agent", "router"]
RescindReason = Literal["customer_gave_up", "withdrawn", "link_lost", "agent_unavailable", "taken"]
RoutingState = Literal["ready", "not_responding", "not_available", "offline"]
RefusalReason = Literal[
    "unknown_contact",
    "not_offered_to_you",
    "offer_over",
    "not_held_by_you",
    "already_done",
    "old_session",
    "unknown_queue",
    "unknown_agent",
    "too_many_transfers",
    "no_capacity",
]


class RoutingFactBase(msgspec.Struct, frozen=True, kw_only=True):
    """`at_ms` is the router's time of the decision."""

    contact_id: str
    pool: str
    queue: str
    at_ms: int


class ContactQueued(RoutingFactBase, frozen=True, kw_only=True, tag="contact.queued"):
    """The router took the contact in; it waits for an agent."""

    channel: Channel
    priority: int
    units: int
    accepted_at_ms: int
    routing_age_at_ms: int


class ContactScheduled(RoutingFactBase, frozen=True, kw_only=True, tag="contact.scheduled"):
    """The contact is kept until `due_ms`, when it joins its queue."""

    channel: Channel
    priority: int
    accepted_at_ms: int
    due_ms: int


class StepJoined(RoutingFactBase, frozen=True, kw_only=True, tag="step.joined"):
    """The contact waits in step `step` (from 1) of its plan until `expires_at_ms`."""

    step: int
    expires_at_ms: int


class StepExpired(RoutingFactBase, frozen=True, kw_only=True, tag="step.expired"):
    """The step's time is over; the next one, or the queue's own need, counts."""

    step: int


class StepSkipped(RoutingFactBase, frozen=True, kw_only=True, tag="step.skipped"):
    """No signed-in agent could serve the step."""

    step: int


class ContactEscalated(RoutingFactBase, frozen=True, kw_only=True, tag="contact.escalated"):
    """The contact waited for `waited_ms` and has a higher priority now."""

    priority: int
    waited_ms: int


class ContactMoved(RoutingFactBase, frozen=True, kw_only=True, tag="contact.moved"):
    """The contact overflowed from `from_queue`; its age is kept."""

    from_queue: str
    reason: Literal["overflow"]


class CallbackArranged(RoutingFactBase, frozen=True, kw_only=True, tag="contact.callback_arranged"):
    """The customer is called back: the contact keeps its place, or joins its queue again at `due_ms`.

    `requested_at_ms`: of the wish that is granted; 0 where a policy made it a callback.
    """

    actor: Actor
    due_ms: int | None
    requested_at_ms: int = 0


class ContactExpired(RoutingFactBase, frozen=True, kw_only=True, tag="contact.expired"):
    """Nobody took the contact within the queue's time to live."""

    waited_ms: int


class ContactOverflowed(RoutingFactBase, frozen=True, kw_only=True, tag="contact.overflowed"):
    """The queue's policy ended the contact, with a message for the customer."""

    reason: str
    message: str


class OfferMade(RoutingFactBase, frozen=True, kw_only=True, tag="offer.made"):
    """One agent may take the contact until `expires_at_ms`. `attempt` counts offers of this contact from 1.

    `score` is the contact's at this moment, in thousandths of a point; `exceeds`: beyond the agent's capacity, on purpose.
    The picture of the agent (`session_no`, `agent_seq`) and the policy (`queue_version`) are those by which it was made.
    """

    attempt: int
    agent_id: str
    session_no: int
    channel: Channel
    priority: int
    units: int
    routing_age_at_ms: int
    expires_at_ms: int
    score: int = 0
    exceeds: bool = False
    agent_seq: int = 0
    queue_version: int = 0


class OfferAccepted(RoutingFactBase, frozen=True, kw_only=True, tag="offer.accepted"):
    """The contact is the agent's: one live assignment."""

    attempt: int
    agent_id: str
    command_id: str


class OfferDeclined(RoutingFactBase, frozen=True, kw_only=True, tag="offer.declined"):
    """The agent said no; the contact is back at the head of its order, its age kept, when no other offer is `still_out`."""

    attempt: int
    agent_id: str
    command_id: str
    still_out: int = 0


class OfferTimedOut(RoutingFactBase, frozen=True, kw_only=True, tag="offer.timed_out"):
    """RONA, the offer was not answered: the contact is back at the head, the agent not responding."""

    attempt: int
    agent_id: str
    still_out: int = 0


class OfferRescinded(RoutingFactBase, frozen=True, kw_only=True, tag="offer.rescinded"):
    """The router took the offer back; the contact is back at the head, or ends with the next fact."""

    attempt: int
    agent_id: str
    reason: RescindReason
    still_out: int = 0


class LinkLost(RoutingFactBase, frozen=True, kw_only=True, tag="contact.link_lost"):
    """The agent's line is lost; the contact is held for the same agent until `held_until_ms`."""

    attempt: int
    agent_id: str
    held_until_ms: int


class LinkRestored(RoutingFactBase, frozen=True, kw_only=True, tag="contact.link_restored"):
    """The agent came back in time and has the contact as before: `assigned`, or `paused`."""

    attempt: int
    agent_id: str
    state: Literal["assigned", "paused"] = "assigned"


class ContactRequeued(RoutingFactBase, frozen=True, kw_only=True, tag="contact.requeued"):
    """The agent did not come back, or did not respond; the contact is back at the head, its age kept."""

    attempt: int
    agent_id: str
    reason: Literal["link_lost", "no_first_response"]


class ContactResponded(RoutingFactBase, frozen=True, kw_only=True, tag="contact.responded"):
    """The agent gave the customer a first response."""

    attempt: int
    agent_id: str
    command_id: str


class ContactPaused(RoutingFactBase, frozen=True, kw_only=True, tag="contact.paused"):
    """The agent keeps the contact and has its capacity for others meanwhile."""

    attempt: int
    agent_id: str
    command_id: str


class ContactResumed(RoutingFactBase, frozen=True, kw_only=True, tag="contact.resumed"):
    """The agent goes on with the paused contact, which takes `units` again; the rest as in `offer.made`."""

    attempt: int
    agent_id: str
    command_id: str
    units: int
    session_no: int = 0
    agent_seq: int = 0
    queue_version: int = 0
    exceeds: bool = False


class ContactTransferred(RoutingFactBase, frozen=True, kw_only=True, tag="contact.transferred"):
    """The agent passed the contact on to `queue`, or to an agent in it; its age is kept."""

    attempt: int
    agent_id: str
    command_id: str
    from_queue: str
    to_agent: str


class WrapUpStarted(RoutingFactBase, frozen=True, kw_only=True, tag="wrap_up.started"):
    """The conversation is over; the agent works on until `ends_at_ms` at most."""

    attempt: int
    agent_id: str
    ends_at_ms: int
    actor: Actor
    command_id: str = ""


class ContactCompleted(RoutingFactBase, frozen=True, kw_only=True, tag="contact.completed"):
    """The agent is done with the contact."""

    attempt: int
    agent_id: str
    actor: Actor
    reason: Literal["completed", "wrap_up_timeout", "link_lost"]
    command_id: str = ""


class ContactAbandoned(RoutingFactBase, frozen=True, kw_only=True, tag="contact.abandoned"):
    """The customer gave up before an agent had the contact."""

    reason: CancelReason


class ContactCancelled(RoutingFactBase, frozen=True, kw_only=True, tag="contact.cancelled"):
    """The integration took the contact back before an agent had it."""

    reason: CancelReason


class AgentRoutingChanged(msgspec.Struct, frozen=True, kw_only=True, tag="agent.routing_changed"):
    """What the router may do with the agent from now on."""

    agent_id: str
    pool: str
    session_no: int
    routing_state: RoutingState
    reason: str
    at_ms: int


class OfferDenied(msgspec.Struct, frozen=True, kw_only=True, tag="agent.offer_denied"):
    """What keeps every contact of the pool from an agent who is ready; empty: nothing does any more. Said when it changes.

    `break_due`, `shift_ends`, `premium_hours`, `hours_denied` or the reason that planning gave for it, `link_score` (below what
    every queue asks), `capacity` (fewer units than any contact takes), `channel_max`, `fair_share`.
    """

    agent_id: str
    pool: str
    session_no: int
    reason: str
    at_ms: int


class CommandRefused(msgspec.Struct, frozen=True, kw_only=True, tag="command.refused"):
    """A command that came too late or was not the agent's to give; nothing changed.

    `detail` says more about some reasons: `agent_not_signed_in`, `agent_not_able`, `nobody_able`.
    """

    command_id: str
    agent_id: str
    pool: str
    contact_id: str
    attempt: int
    reason: RefusalReason
    at_ms: int
    detail: str = ""


ContactTransition = (
    ContactScheduled
    | ContactQueued
    | StepJoined
    | StepExpired
    | StepSkipped
    | ContactEscalated
    | ContactMoved
    | CallbackArranged
    | OfferMade
    | OfferAccepted
    | OfferDeclined
    | OfferTimedOut
    | OfferRescinded
    | LinkLost
    | LinkRestored
    | ContactRequeued
    | ContactResponded
    | ContactPaused
    | ContactResumed
    | ContactTransferred
    | WrapUpStarted
    | ContactCompleted
    | ContactAbandoned
    | ContactCancelled
    | ContactExpired
    | ContactOverflowed
)
RoutingFact = ContactTransition | AgentRoutingChanged | OfferDenied | CommandRefused
