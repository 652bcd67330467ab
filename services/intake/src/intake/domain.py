"""Acceptance rules and contact states, pure."""

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import msgspec

from common.contracts import routing
from common.contracts.needs import parts
from common.contracts.policies import ANYBODY, Need

OVER = frozenset({"wrap_up", "completed", "abandoned", "cancelled", "expired", "overflowed"})
"""States in which there is nothing left to cancel."""

WITH_AGENT = frozenset({"assigned", "paused", "link_lost"})
"""States in which an agent has the conversation: nobody is called back who is being served."""
WAITING = frozenset({"accepted", "scheduled", "queued", "offered"})
"""States in which no agent has the contact yet, and a wish to be called back has an effect."""

PAUSE_MAX_MS = 600_000
"""What nobody confirmed is repeated after pauses that double, each as long as was waited until the repetition before, up to this:
a router that is away for long finds each contact a few times, and not once a second."""

KEY_PREFIX = "plk"
Scope = Literal["post", "read", "priority"]
SCOPES: tuple[Scope, ...] = ("post", "read", "priority")
"""What a key may do: post, cancel and call back; read and list; post with a priority above 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHolder:
    """Who holds the key of a credential that is in order."""

    client_id: str
    key_id: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRefused:
    """Why a credential is no key of ours that is in force. `key_id`: of a key that exists, else empty."""

    reason: Literal["malformed", "unknown", "secret", "revoked", "expired"]
    key_id: str


class Refusal(StrEnum):
    KEY_REUSED = "key_reused"
    UNKNOWN_QUEUE = "unknown_queue"
    UNKNOWN_SKILL = "unknown_skill"
    NOT_FOUND = "not_found"
    CONTACT_OVER = "contact_over"
    WITH_AGENT = "with_agent"
    SESSION_OVER = "session_over"
    TOO_MANY_WAITING = "too_many_waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An expected no. `detail` is for the caller's eyes and names no personal data."""

    reason: Refusal
    detail: str


class Wishes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a contact says about its routing besides queue and skills. `customer`: an opaque reference of the client's."""

    need: Need = ANYBODY
    customer: str = ""
    last_agent: str = ""
    account_team: str = ""
    named_agent: str = ""
    not_before_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewContact:
    """A contact as it was posted. `customer` is personal data: JSON, or None."""

    client_id: str
    idempotency_key: str
    body_hash: bytes
    queue: str
    channel: str
    priority: int | None
    requirements: tuple[tuple[str, int], ...]
    external_id: str | None
    customer: str | None
    correlation_id: str
    wishes: Wishes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a 202 says; the same again when the POST is repeated (`replayed`)."""

    contact_id: str
    queue: str
    channel: str
    priority: int
    accepted_at_ms: int
    replayed: bool


STATE_AFTER: dict[type[object], str] = {
    routing.ContactScheduled: "scheduled",
    routing.ContactQueued: "queued",
    routing.ContactMoved: "queued",
    routing.CallbackArranged: "queued",
    routing.ContactResponded: "assigned",
    routing.ContactPaused: "paused",
    routing.ContactResumed: "assigned",
    routing.ContactTransferred: "queued",
    routing.ContactExpired: "expired",
    routing.ContactOverflowed: "overflowed",
    routing.OfferMade: "offered",
    routing.OfferAccepted: "assigned",
    routing.OfferDeclined: "queued",
    routing.OfferTimedOut: "queued",
    routing.OfferRescinded: "queued",
    routing.LinkLost: "link_lost",
    routing.LinkRestored: "assigned",  # or what the fact says
    routing.ContactRequeued: "queued",
    routing.WrapUpStarted: "wrap_up",
    routing.ContactCompleted: "completed",
    routing.ContactAbandoned: "abandoned",
    routing.ContactCancelled: "cancelled",
}
"""A contact's state after the facts of the router that change it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a contact stands after the router's facts: the state, since when, the latest attempt, with which agent, where."""

    state: str
    at_ms: int
    attempt: int
    agent_id: str
    queue: str


READERS = frozenset({"assigned", "paused", "wrap_up"})
"""States in which the agent holds the contact and may see the customer's details; not while its line is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSession:
    """An agent's latest session, as far as the router's facts have reached us."""

    session_no: int
    is_over: bool


def session_fits(known: KnownSession | None, *, session_no: int | None) -> bool | None:
    """Whether the session is the agent's present one; None when its sign-in has not reached us yet.

    Who names no session (None) means the present one, whichever it is: they have to be signed in. Of an agent of whom nothing
    was said since this was kept, any number is taken.
    """
    if known is None:
        return True
    if session_no is None or session_no == known.session_no:
        return not known.is_over
    return None if session_no > known.session_no else False


def session_is_over(session_no: int | None) -> str:
    """What an agent reads whose session does not fit."""
    return "You are signed out." if session_no is None else f"Session {session_no} is over."


def key_hash(*, secret: str, pepper: str) -> bytes:
    """What is stored of an API key: HMAC-SHA-256. A key of 256 random bits needs no slow hash."""
    return hmac.new(pepper.encode(), secret.encode(), hashlib.sha256).digest()


def split_key(credential: str) -> tuple[str, str] | None:
    """`plk_<id>_<secret>` as (id, secret); None when it is not of that form."""
    prefix, _, rest = credential.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != KEY_PREFIX or not key_id or len(secret) < 32 or len(credential) > 200:
        return None
    return key_id, secret


def skills_of(need: Need) -> list[str]:
    """Every skill that the need speaks of."""
    return [part.skill for part in parts(need) if part.skill]
