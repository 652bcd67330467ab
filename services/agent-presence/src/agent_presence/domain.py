"""Sessions, commands and inbox items, pure."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import msgspec

from common.contracts import agents, routing
from common.contracts.policies import Need

Verb = Literal["accept", "decline", "respond", "pause", "resume", "transfer", "complete", "end_wrap_up"]
DONE = "done"
TELL_AGAIN_MS = 5_000
"""A repeated command whose first telling the router has not answered for so long is told again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """An agent as administrators define one."""

    agent_id: str
    pool: str
    skills: dict[str, int]
    units: int
    enabled: bool
    traits: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A signed-in agent. `seq` counts what the router was told.

    `traits` are defined by administrators, `limits` (breaks, shift, hours) come from planning, `link_score` from the desktop.
    """

    agent_id: str
    session_no: int
    seq: int
    presence: agents.Presence
    pool: str
    skills: dict[str, int]
    units: int
    link_score: int
    traits: dict[str, object]
    limits: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What an agent asks for about one attempt of one contact."""

    agent_id: str
    command_id: str
    session_no: int
    pool: str
    verb: Verb
    contact_id: str
    attempt: int
    issued_at_ms: int
    to_queue: str = ""
    to_agent: str = ""
    need: Need | None = None


class Kept(StrEnum):
    """What became of a command that was to be kept."""

    FRESH = "fresh"
    REPEATED = "repeated"
    SESSION_OVER = "session_over"
    REUSED = "reused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What an agent has before it: an offer, or a contact that it holds. `seq` is the fact's place in the log."""

    contact_id: str
    agent_id: str
    attempt: int
    state: str
    queue: str
    channel: str
    priority: int
    units: int
    routing_age_at_ms: int
    due_ms: int | None
    shard: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the router may do with the agent."""

    agent_id: str
    session_no: int
    routing_state: str
    reason: str
    shard: int
    seq: int


GONE = (
    routing.OfferDeclined,
    routing.OfferTimedOut,
    routing.OfferRescinded,
    routing.ContactRequeued,
    routing.ContactTransferred,
    routing.ContactCompleted,
)
"""After these the agent has nothing to do with the contact any more."""


def item_after(before: Item | None, fact: msgspec.Struct, *, shard: int, seq: int) -> Item | None:
    """The item after a fact about an attempt; None when it is gone (or was never seen)."""
    if isinstance(fact, routing.OfferMade):
        return Item(
            contact_id=fact.contact_id,
            agent_id=fact.agent_id,
            attempt=fact.attempt,
            state="offered",
            queue=fact.queue,
            channel=fact.channel,
            priority=fact.priority,
            units=fact.units,
            routing_age_at_ms=fact.routing_age_at_ms,
            due_ms=fact.expires_at_ms,
            shard=shard,
            seq=seq,
        )
    if before is None or isinstance(fact, GONE):
        return None
    match fact:
        case routing.OfferAccepted() | routing.ContactResumed():
            state, due_ms = "assigned", None
        case routing.LinkRestored():
            state, due_ms = "paused" if before.units == 0 else "assigned", None
        case routing.ContactPaused():
            state, due_ms = "paused", None
        case routing.LinkLost():
            state, due_ms = "link_lost", fact.held_until_ms
        case routing.WrapUpStarted():
            state, due_ms = "wrap_up", fact.ends_at_ms
        case _:
            return before
    units = before.units
    if isinstance(fact, routing.ContactPaused):
        units = 0
    elif isinstance(fact, routing.ContactResumed):
        units = fact.units
    return replace(before, state=state, due_ms=due_ms, units=units, seq=seq)


def standing_after(fact: msgspec.Struct, *, shard: int, seq: int) -> Standing | None:
    """The standing that the fact tells; None when it is about something else.

    Only agents who are ready are told what keeps offers from them; an empty reason: nothing does any more.
    """
    match fact:
        case routing.AgentRoutingChanged():
            routing_state, reason = fact.routing_state, fact.reason
        case routing.OfferDenied():
            routing_state, reason = "ready", fact.reason or "available"
        case _:
            return None
    return Standing(
        agent_id=fact.agent_id,
        session_no=fact.session_no,
        routing_state=routing_state,
        reason=reason,
        shard=shard,
        seq=seq,
    )


def outcome_of(fact: msgspec.Struct) -> tuple[str, str, str] | None:
    """(agent, command id, outcome) when the fact answers a command: `done`, or the router's reason."""
    if isinstance(fact, routing.CommandRefused):
        return fact.agent_id, fact.command_id, fact.detail or fact.reason
    command_id = getattr(fact, "command_id", "")
    return (getattr(fact, "agent_id", ""), command_id, DONE) if command_id else None


def target_of(command: Command) -> str:
    """Where the command goes, for comparing: the same target, the same text; empty where a command has none."""
    if command.verb != "transfer":
        return ""
    return msgspec.json.encode([command.to_queue, command.to_agent, command.need], order="deterministic").decode()


_COMMAND_FACTS: dict[Verb, type[agents.AgentCommand]] = {
    "accept": agents.AcceptRequested,
    "decline": agents.DeclineRequested,
    "respond": agents.RespondRequested,
    "pause": agents.PauseRequested,
    "resume": agents.ResumeRequested,
    "transfer": agents.TransferRequested,
    "complete": agents.CompleteRequested,
    "end_wrap_up": agents.WrapUpEndRequested,
}


def command_fact(command: Command) -> agents.AgentCommand:
    """The fact that somebody asked."""
    target: dict[str, object] = {}
    if command.verb == "transfer":
        target = {"to_queue": command.to_queue, "to_agent": command.to_agent, "need": command.need}
    return _COMMAND_FACTS[command.verb](
        command_id=command.command_id,
        agent_id=command.agent_id,
        pool=command.pool,
        session_no=command.session_no,
        contact_id=command.contact_id,
        attempt=command.attempt,
        issued_at_ms=command.issued_at_ms,
        **target,
    )


def picture(session: Session, *, at_ms: int) -> dict[str, object]:
    """The fields of a state fact."""
    return {
        "agent_id": session.agent_id,
        "pool": session.pool,
        "session_no": session.session_no,
        "seq": session.seq,
        "presence": session.presence,
        "skills": session.skills,
        "units": session.units,
        "at_ms": at_ms,
        "link_score": session.link_score,
        **session.traits,
        **session.limits,
    }
