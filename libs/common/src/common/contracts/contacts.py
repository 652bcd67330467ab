"""Facts of `contacts.v1`. Owner: intake. No personal data: ids and what routing needs."""

from typing import Literal

import msgspec

Channel = Literal["voice", "chat", "email", "sms", "social", "callback", "screen_share"]
CancelReason = Literal["customer_gave_up", "withdrawn"]


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """The agent must have `skill` at `min_level` (0 to 100) or better."""

    skill: str
    min_level: int = 0


class ContactSubmitted(msgspec.Struct, frozen=True, kw_only=True, tag="contact.submitted"):
    """Intake accepted a contact and answers for it. `accepted_at_ms` is where its routing age starts."""

    contact_id: str
    pool: str
    queue: str
    channel: Channel
    priority: int
    requirements: tuple[Requirement, ...]
    accepted_at_ms: int


class CancelRequested(msgspec.Struct, frozen=True, kw_only=True, tag="contact.cancel_requested"):
    """The customer gave up (`customer_gave_up`), or the integration took the contact back (`withdrawn`)."""

    contact_id: str
    pool: str
    reason: CancelReason
    requested_at_ms: int


ContactFact = ContactSubmitted | CancelRequested
