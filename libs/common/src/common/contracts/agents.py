"""Facts of `agents.v1`. Owner: agent-presence.

State facts carry the agent's whole routing picture and `(session_no, seq)`: the latest wins, older ones are ignored.
Commands (accept, decline, complete, wrap-up end) are facts that somebody asked; a `command_id` makes them idempotent.
"""

from typing import Literal

import msgspec

Presence = Literal["available", "away", "break", "meal", "training", "offline"]
SessionEnd = Literal["signed_out", "lease_expired", "replaced"]


class AgentPicture(msgspec.Struct, frozen=True, kw_only=True):
    """What the router must know of an agent. `skills`: proficiency 0 to 100; `units`: capacity units in all."""

    agent_id: str
    pool: str
    session_no: int
    seq: int
    presence: Presence
    skills: dict[str, int]
    units: int
    at_ms: int


class SessionStarted(AgentPicture, frozen=True, kw_only=True, tag="agent.session_started"):
    """The agent signed in; sessions before `session_no` have no say any more."""


class PresenceChanged(AgentPicture, frozen=True, kw_only=True, tag="agent.presence_changed"):
    """The person said so, or an administrator changed skills or units while the agent was there."""


class SessionEnded(AgentPicture, frozen=True, kw_only=True, tag="agent.session_ended"):
    """The agent is gone; `presence` is offline."""

    reason: SessionEnd


class AgentCommand(msgspec.Struct, frozen=True, kw_only=True):
    """An agent asked for something about one attempt of one contact."""

    command_id: str
    agent_id: str
    pool: str
    session_no: int
    contact_id: str
    attempt: int
    issued_at_ms: int


class AcceptRequested(AgentCommand, frozen=True, kw_only=True, tag="offer.accept_requested"):
    """Give me the contact that I was offered."""


class DeclineRequested(AgentCommand, frozen=True, kw_only=True, tag="offer.decline_requested"):
    """Offer it to somebody else."""


class CompleteRequested(AgentCommand, frozen=True, kw_only=True, tag="contact.complete_requested"):
    """The conversation is over."""


class WrapUpEndRequested(AgentCommand, frozen=True, kw_only=True, tag="wrap_up.end_requested"):
    """The work after the conversation is over too."""


StateFact = SessionStarted | PresenceChanged | SessionEnded
CommandFact = AcceptRequested | DeclineRequested | CompleteRequested | WrapUpEndRequested
AgentFact = StateFact | CommandFact
