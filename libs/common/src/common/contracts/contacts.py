"""Facts of `contacts.v1`. Owner: intake. No personal data: ids and what routing needs."""

from typing import Literal

import msgspec

from common.contracts.policies import ANYBODY, Need

Channel = Literal["voice", "chat", "email", "sms", "social", "callback", "screen_share"]
CancelReason = Literal["customer_gave_up", "withdrawn"]


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """The agent must have `skill` at `min_level` (0 to 100) or better."""

    skill: str
    min_level: int = 0


class ContactSubmitted(msgspec.Struct, frozen=True, kw_only=True, tag="contact.submitted"):
    """Intake accepted a contact and answers for it. `accepted_at_ms` is where its routing age starts, or `not_before_ms`.

    `customer` is an opaque reference. `last_agent`, `account_team` and `named_agent`: whom the contact knows.
    """

    contact_id: str
    pool: str
    queue: str
    channel: Channel
    priority: int
    requirements: tuple[Requirement, ...]
    accepted_at_ms: int
    need: Need = ANYBODY
    customer: str = ""
    last_agent: str = ""
    account_team: str = ""
    named_agent: str = ""
    not_before_ms: int | None = None


class CancelRequested(msgspec.Struct, frozen=True, kw_only=True, tag="contact.cancel_requested"):
    """The customer gave up (`customer_gave_up`), or the integration took the contact back (`withdrawn`)."""

    contact_id: str
    pool: str
    reason: CancelReason
    requested_at_ms: int


class CallbackRequested(msgspec.Struct, frozen=True, kw_only=True, tag="contact.callback_requested"):
    """The customer would rather be called back and keeps the place, or at `not_before_ms`."""

    contact_id: str
    pool: str
    requested_at_ms: int
    not_before_ms: int | None = None


ContactFact = ContactSubmitted | CancelRequested | CallbackRequested
