"""Facts of `routing.v1`. Owner: router. The committed log of each shard, in order and without a gap.

Each transition of a contact is one fact with reason and actor. `command_id` names the agent's command that caused it,
so that whoever waits for an answer finds it.
"""

from typing import Literal

import msgspec

from common.contracts.contacts import CancelReason, Channel

Actor = Literal["customer", "integration", "agent", "router"]
RescindReason = Literal["customer_gave_up", "withdrawn", "link_lost", "agent_unavailable"]
RoutingState = Literal["ready", "not_responding", "not_available", "offline"]
RefusalReason = Literal[
    "unknown_contact", "not_offered_to_you", "offer_over", "not_held_by_you", "already_done", "old_session"
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


class OfferMade(RoutingFactBase, frozen=True, kw_only=True, tag="offer.made"):
    """One agent may take the contact until `expires_at_ms`. `attempt` counts offers of this contact from 1."""

    attempt: int
    agent_id: str
    session_no: int
    channel: Channel
    priority: int
    units: int
    routing_age_at_ms: int
    expires_at_ms: int


class OfferAccepted(RoutingFactBase, frozen=True, kw_only=True, tag="offer.accepted"):
    """The contact is the agent's: one live assignment."""

    attempt: int
    agent_id: str
    command_id: str


class OfferDeclined(RoutingFactBase, frozen=True, kw_only=True, tag="offer.declined"):
    """The agent said no; the contact is back at the head of its order, its age kept."""

    attempt: int
    agent_id: str
    command_id: str


class OfferTimedOut(RoutingFactBase, frozen=True, kw_only=True, tag="offer.timed_out"):
    """RONA, the offer was not answered: the contact is back at the head, the agent not responding."""

    attempt: int
    agent_id: str


class OfferRescinded(RoutingFactBase, frozen=True, kw_only=True, tag="offer.rescinded"):
    """The router took the offer back; the contact is back at the head, or ends with the next fact."""

    attempt: int
    agent_id: str
    reason: RescindReason


class LinkLost(RoutingFactBase, frozen=True, kw_only=True, tag="contact.link_lost"):
    """The agent's line is lost; the contact is held for the same agent until `held_until_ms`."""

    attempt: int
    agent_id: str
    held_until_ms: int


class LinkRestored(RoutingFactBase, frozen=True, kw_only=True, tag="contact.link_restored"):
    """The agent came back in time and goes on with the contact."""

    attempt: int
    agent_id: str


class ContactRequeued(RoutingFactBase, frozen=True, kw_only=True, tag="contact.requeued"):
    """The agent did not come back; the contact is back at the head, its age kept."""

    attempt: int
    agent_id: str
    reason: Literal["link_lost"]


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


class CommandRefused(msgspec.Struct, frozen=True, kw_only=True, tag="command.refused"):
    """A command that came too late or was not the agent's to give; nothing changed."""

    command_id: str
    agent_id: str
    pool: str
    contact_id: str
    attempt: int
    reason: RefusalReason
    at_ms: int


ContactTransition = (
    ContactQueued
    | OfferMade
    | OfferAccepted
    | OfferDeclined
    | OfferTimedOut
    | OfferRescinded
    | LinkLost
    | LinkRestored
    | ContactRequeued
    | WrapUpStarted
    | ContactCompleted
    | ContactAbandoned
    | ContactCancelled
)
RoutingFact = ContactTransition | AgentRoutingChanged | CommandRefused
