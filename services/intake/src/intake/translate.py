"""Intake's values to facts, pure."""

import msgspec

from common.contracts.contacts import CallbackRequested, CancelRequested, ContactSubmitted, Requirement
from common.contracts.topics import CONTACTS, shard_of
from common.runtime.outbox import OutboxRow, outbox_row
from intake.domain import Receipt, Wishes


def submission(
    receipt: Receipt,
    *,
    pool: str,
    requirements: tuple[tuple[str, int], ...],
    correlation_id: str,
    wishes: Wishes,
) -> OutboxRow:
    """The fact that the router waits for."""
    fact = ContactSubmitted(
        contact_id=receipt.contact_id,
        pool=pool,
        queue=receipt.queue,
        channel=receipt.channel,  # type: ignore[arg-type] # checked at the border
        priority=receipt.priority,
        requirements=tuple(Requirement(skill=skill, min_level=level) for skill, level in requirements),
        accepted_at_ms=receipt.accepted_at_ms,
        **msgspec.structs.asdict(wishes),
    )
    return outbox_row(
        fact,
        topic=CONTACTS.name,
        partition=shard_of(pool),
        key=receipt.contact_id,
        at_ms=receipt.accepted_at_ms,
        correlation_id=correlation_id,
    )


def callback(*, contact_id: str, pool: str, not_before_ms: int | None, at_ms: int, correlation_id: str) -> OutboxRow:
    """The fact that the customer would rather be called back."""
    fact = CallbackRequested(contact_id=contact_id, pool=pool, requested_at_ms=at_ms, not_before_ms=not_before_ms)
    return _about_contact(fact, at_ms=at_ms, correlation_id=correlation_id)


def cancellation(*, contact_id: str, pool: str, reason: str, at_ms: int, correlation_id: str) -> OutboxRow:
    """The fact that somebody asked for the end of the contact."""
    fact = CancelRequested(
        contact_id=contact_id,
        pool=pool,
        reason=reason,  # type: ignore[arg-type] # checked at the border
        requested_at_ms=at_ms,
    )
    return _about_contact(fact, at_ms=at_ms, correlation_id=correlation_id)


def _about_contact(fact: CallbackRequested | CancelRequested, *, at_ms: int, correlation_id: str) -> OutboxRow:
    return outbox_row(
        fact,
        topic=CONTACTS.name,
        partition=shard_of(fact.pool),
        key=fact.contact_id,
        at_ms=at_ms,
        correlation_id=correlation_id,
    )
