"""What can be told to the core."""

import msgspec

from common.contracts.policies import ANYBODY, Need
from router.core.model.queue import Queue


class QueueSet(msgspec.Struct, frozen=True, kw_only=True):
    """A queue was defined or changed. Waiting contacts follow at once."""

    queue: Queue


class QueueOpened(msgspec.Struct, frozen=True, kw_only=True):
    """The queue's hours of operation began or ended. They are worked out outside, where there are calendars."""

    queue_id: str
    is_open: bool


class ContactArrived(msgspec.Struct, frozen=True, kw_only=True):
    """Intake accepted a contact. Told again of one that is known or recently ended, the core does nothing.

    `customer` is an opaque reference; `last_agent`, `account_team` and `named_agent` are whom the contact knows.
    `not_before_ms`: a scheduled contact, its age begins then.
    """

    contact_id: str
    queue_id: str
    pool: str
    channel: str
    priority: int
    accepted_at_ms: int
    requirements: tuple[tuple[str, int], ...] = ()
    need: Need = ANYBODY
    customer: str = ""
    last_agent: str = ""
    account_team: str = ""
    named_agent: str = ""
    not_before_ms: int | None = None
    correlation: str = ""


class CancelAsked(msgspec.Struct, frozen=True, kw_only=True):
    """The customer gave up, or the integration took the contact back."""

    contact_id: str
    reason: str


class CallbackAsked(msgspec.Struct, frozen=True, kw_only=True):
    """The customer would rather be called back, and keeps the place; or, with `not_before_ms`, at that time.

    The last wish counts, by `requested_at_ms`; 0: not known, it counts.
    """

    contact_id: str
    not_before_ms: int | None = None
    requested_at_ms: int = 0


class ScoresGiven(msgspec.Struct, frozen=True, kw_only=True):
    """A scorer's verdict on agents for a contact: the highest goes first."""

    contact_id: str
    scores: dict[str, int]


class AgentSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The latest picture of an agent; an older one, by (session_no, seq), is ignored. Fields as in `Agent`;
    `elsewhere` is None where nobody looked."""

    agent_id: str
    pool: str
    session_no: int
    seq: int
    presence: str
    skills: tuple[tuple[str, int], ...]
    units: int
    link_lost: bool
    languages: tuple[str, ...] = ()
    region: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    channel_max: tuple[tuple[str, int], ...] = ()
    link_score: int = 100
    auto_accept: bool = False
    offer_extra_ms: int = 0
    shift_ends_ms: int | None = None
    break_due_ms: int | None = None
    premium_from_ms: int | None = None
    denied_from_ms: int | None = None
    denied_reason: str = ""
    elsewhere: tuple[int, ...] | None = None


class UnitsElsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """Units of the agent that contacts of other shards take at present."""

    agent_id: str
    unit_numbers: tuple[int, ...]


class AgentAsked(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's command about one attempt of one contact.

    `verb`: accept, decline, respond, pause, resume, transfer, complete, end_wrap_up. A transfer goes to a queue, to an
    agent, or stays in its queue with a new need.
    """

    verb: str
    command_id: str
    agent_id: str
    pool: str
    session_no: int
    contact_id: str
    attempt: int
    to_queue: str = ""
    to_agent: str = ""
    need: Need | None = None


class Ticked(msgspec.Struct, frozen=True, kw_only=True):
    """Time went on; whatever is due happens now."""


Input = (
    QueueSet
    | QueueOpened
    | ContactArrived
    | CancelAsked
    | CallbackAsked
    | ScoresGiven
    | AgentSeen
    | UnitsElsewhere
    | AgentAsked
    | Ticked
)
