"""Facts of `agents.v1`. Owner: agent-presence.

State facts carry the agent's whole routing picture and `(session_no, seq)`: the latest wins, older ones are ignored.
Commands (accept, decline, respond, pause, resume, transfer, complete, wrap-up end) are facts that somebody asked; a
`command_id` makes them idempotent.
"""

from typing import Literal

import msgspec

from common.contracts.policies import Need

Presence = Literal["available", "away", "break", "meal", "training", "offline"]
AGENT_ID_CHARS_MAX = 255
AGENT_ID = r"^[!#-\-0-;=?-\[\]-_a-~][!#-.0-;=?-\[\]-_a-~]{0,254}$"
"""An agent's id, as identity providers give subjects: ASCII that can be printed, without blanks, slashes, quotes, `<`, `>` and
backticks, no dot at its beginning. Capitals count: `Ann` is not `ann`."""
SessionEnd = Literal["signed_out", "lease_expired", "replaced", "disabled", "signed_out_by_supervisor"]


class AgentPicture(msgspec.Struct, frozen=True, kw_only=True):
    """What the router must know of an agent. `skills`: proficiency 0 to 100; `units`: capacity units in all.

    `channel_max`: contacts of a channel at a time; `link_score`: of the line, 0 to 100; `offer_extra_ms`: more time to
    answer, for a slow line. No offer may run past `break_due_ms`, `shift_ends_ms` or `denied_from_ms` (the hours that law
    and plan allow, with `denied_reason`); from `premium_from_ms` on work costs a premium.
    """

    agent_id: str
    pool: str
    session_no: int
    seq: int
    presence: Presence
    skills: dict[str, int]
    units: int
    at_ms: int
    languages: tuple[str, ...] = ()
    region: str = ""
    attributes: dict[str, str] = {}
    channel_max: dict[str, int] = {}
    link_score: int = 100
    auto_accept: bool = False
    offer_extra_ms: int = 0
    shift_ends_ms: int | None = None
    break_due_ms: int | None = None
    premium_from_ms: int | None = None
    denied_from_ms: int | None = None
    denied_reason: str = ""


class SessionStarted(AgentPicture, frozen=True, kw_only=True, tag="agent.session_started"):
    """The agent signed in; sessions before `session_no` have no say any more."""


class PresenceChanged(AgentPicture, frozen=True, kw_only=True, tag="agent.presence_changed"):
    """The person said so, or an administrator changed skills or units while the agent was there."""


class SessionEnded(AgentPicture, frozen=True, kw_only=True, tag="agent.session_ended"):
    """The agent is gone; `presence` is offline. `disabled`: an administrator disabled the agent, who may not come back."""

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


class RespondRequested(AgentCommand, frozen=True, kw_only=True, tag="contact.respond_requested"):
    """The customer has a first response."""


class PauseRequested(AgentCommand, frozen=True, kw_only=True, tag="contact.pause_requested"):
    """The contact can wait; give me others meanwhile."""


class ResumeRequested(AgentCommand, frozen=True, kw_only=True, tag="contact.resume_requested"):
    """I go on with the contact that I paused."""


class TransferRequested(AgentCommand, frozen=True, kw_only=True, tag="contact.transfer_requested"):
    """Pass the contact on: to a queue, to an agent, or in its queue to somebody who meets `need`."""

    to_queue: str = ""
    to_agent: str = ""
    need: Need | None = None


StateFact = SessionStarted | PresenceChanged | SessionEnded
CommandFact = (
    AcceptRequested
    | DeclineRequested
    | RespondRequested
    | PauseRequested
    | ResumeRequested
    | TransferRequested
    | CompleteRequested
    | WrapUpEndRequested
)
AgentFact = StateFact | CommandFact
