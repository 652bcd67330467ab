"""What can be told to the core."""

from dataclasses import dataclass

from router.core.values import Queue


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSet:
    """A queue was defined or changed."""

    queue: Queue


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactArrived:
    """Intake accepted a contact. Told again of one that is known or recently ended, the core does nothing."""

    contact_id: str
    queue_id: str
    pool: str
    channel: str
    priority: int
    requirements: tuple[tuple[str, int], ...]
    accepted_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAsked:
    """The customer gave up, or the integration took the contact back."""

    contact_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSeen:
    """The latest picture of an agent; an older one, by (session_no, seq), is ignored."""

    agent_id: str
    pool: str
    session_no: int
    seq: int
    presence: str
    skills: tuple[tuple[str, int], ...]
    units: int
    link_lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAsked:
    """An agent's command about one attempt of one contact. `verb`: accept, decline, complete, end_wrap_up."""

    verb: str
    command_id: str
    agent_id: str
    pool: str
    session_no: int
    contact_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time went on; whatever is due happens now."""


Input = QueueSet | ContactArrived | CancelAsked | AgentSeen | AgentAsked | Ticked
