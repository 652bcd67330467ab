"""Contacts on PostgreSQL: one statement accepts a whole batch."""

from collections.abc import Sequence
from typing import Any

import msgspec

from common.runtime.database import Connection, Pool, borrowed
from common.runtime.outbox import OutboxRow, columns, insert
from intake.domain import (
    OVER,
    READERS,
    WITH_AGENT,
    KnownSession,
    NewContact,
    Receipt,
    Refusal,
    Refused,
    session_fits,
    session_is_over,
)
from intake.translate import callback, cancellation

ACCEPT = """
WITH given AS (
  SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[],
                       $9::text[], $10::text[], $11::text[], $12::bigint[], $13::text[], $20::text[])
    AS t(client_id, key, body_hash, contact_id, pool, queue, channel, priority, requirements, external_id, customer, at_ms,
         routing, correlation_id)
), fresh AS (
  INSERT INTO idempotency_key (client_id, key, body_hash, contact_id, at_ms)
  SELECT client_id, key, body_hash, contact_id, at_ms FROM given ORDER BY client_id, key
  ON CONFLICT DO NOTHING RETURNING contact_id
), accepted AS (
  INSERT INTO contact (contact_id, client_id, pool, queue, channel, priority, requirements, external_id, accepted_at_ms,
                       state_at_ms, routing, correlation_id)
  SELECT contact_id, client_id, pool, queue, channel, priority, requirements::jsonb, external_id, at_ms, at_ms,
         routing::jsonb, correlation_id
    FROM given JOIN fresh USING (contact_id)
), kept_apart AS (
  INSERT INTO personal (contact_id, customer)
  SELECT contact_id, customer::jsonb FROM given JOIN fresh USING (contact_id) WHERE customer IS NOT NULL
), announced AS (
  INSERT INTO outbox (event_id, topic, partition, key, type, at_ms, correlation_id, value)
  SELECT o.* FROM unnest($14::text[], $15::text[], $16::int[], $17::text[], $18::text[], $19::bigint[], $20::text[],
                         $21::bytea[]) AS o(event_id, topic, partition, key, type, at_ms, correlation_id, value)
    JOIN fresh ON fresh.contact_id = o.key
)
SELECT contact_id FROM fresh
"""
FIRST_RECEIPT = """
SELECT k.client_id, k.key, k.body_hash, c.contact_id, c.queue, c.channel, c.priority, c.accepted_at_ms
  FROM idempotency_key k JOIN contact c USING (contact_id)
  JOIN unnest($1::text[], $2::text[]) AS asked(client_id, key) ON asked.client_id = k.client_id AND asked.key = k.key
"""
CANCEL = """
UPDATE contact SET cancel_reason = $3, cancel_at_ms = $4, repeated_at_ms = $4
 WHERE contact_id = $1 AND client_id = $2 AND cancel_at_ms IS NULL AND state <> ALL($5::text[])
RETURNING pool, correlation_id
"""
WISH = """
UPDATE contact SET callback_asked_ms = $2, callback_not_before_ms = $3, repeated_at_ms = greatest(repeated_at_ms, $2)
 WHERE contact_id = $1
"""
LAST_AGENT = """
SELECT agent_id FROM contact WHERE client_id = $1 AND routing ? 'customer' AND routing->>'customer' = $2
   AND state IN ('wrap_up', 'completed') AND agent_id <> '' ORDER BY state_at_ms DESC LIMIT 1
"""
CUSTOMER = """
SELECT (SELECT coalesce(p.customer, '{}')::text FROM contact c LEFT JOIN personal p USING (contact_id)
         WHERE c.contact_id = $1 AND c.agent_id = $2 AND c.state = ANY($3::text[])) AS customer,
       s.session_no, s.is_over
  FROM (SELECT 1) AS always LEFT JOIN agent_session s ON s.agent_id = $2
"""
NOTE_READ = "INSERT INTO audit (actor, action, subject, detail) VALUES ($1, 'customer.read', $2, $3)"
COUNT_WAITING = """
SELECT count(*) FROM (SELECT 1 FROM contact WHERE client_id = $1 AND state IN ('accepted', 'scheduled', 'queued', 'offered')
                       LIMIT $2) AS waiting
"""
PUBLIC = (
    "contact_id, coalesce(present_queue, queue) AS queue, channel, priority, external_id, accepted_at_ms, state, state_at_ms,"
    " attempt, cancel_reason"
)


class PostgresContacts:
    """See `intake.ports.Contacts`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def accept(self, given: Sequence[tuple[NewContact, Receipt, str, OutboxRow]]) -> list[Receipt | Refused]:
        """One statement and one commit, whatever the number."""
        async with borrowed(self._pool) as connection:
            fresh = {
                row["contact_id"]
                for row in await connection.fetch(ACCEPT, *_given_columns(given), *columns([row for *_, row in given]))
            }
            known = [contact for contact, receipt, *_ in given if receipt.contact_id not in fresh]
            first = await _first_receipts(connection, known) if known else {}
        return [
            receipt
            if receipt.contact_id in fresh
            else _replayed(contact, first[contact.client_id, contact.idempotency_key])
            for contact, receipt, *_ in given
        ]

    async def call_back(
        self, *, contact_id: str, client_id: str, not_before_ms: int | None, at_ms: int
    ) -> OutboxRow | Refused:
        """The holder check is inside the statement."""
        async with borrowed(self._pool) as connection, connection.transaction():
            found = await connection.fetchrow(
                "SELECT pool, state, correlation_id, callback_asked_ms FROM contact"
                " WHERE contact_id = $1 AND client_id = $2 FOR UPDATE",
                contact_id,
                client_id,
            )
            if found is None:
                return Refused(reason=Refusal.NOT_FOUND, detail="There is no such contact of yours.")
            if found["state"] in OVER:
                return Refused(reason=Refusal.CONTACT_OVER, detail=f"The contact is in state {found['state']}.")
            if found["state"] in WITH_AGENT:
                return Refused(reason=Refusal.WITH_AGENT, detail=f"The contact is in state {found['state']}.")
            at_ms = max(at_ms, (found["callback_asked_ms"] or 0) + 1)  # the last wish is the later one
            await connection.execute(WISH, contact_id, at_ms, not_before_ms)
            row = callback(
                contact_id=contact_id,
                pool=found["pool"],
                not_before_ms=not_before_ms,
                at_ms=at_ms,
                correlation_id=found["correlation_id"],
            )
            await insert(connection, [row])
            return row

    async def last_agent(self, *, client_id: str, customer: str) -> str:
        """Who had the customer's last contact of this client; empty when nobody had one."""
        async with borrowed(self._pool) as connection:
            return await connection.fetchval(LAST_AGENT, client_id, customer) or ""

    async def cancel(self, *, contact_id: str, client_id: str, reason: str, at_ms: int) -> OutboxRow | Refused | None:
        """The holder check and the change are one statement."""
        async with borrowed(self._pool) as connection, connection.transaction():
            found = await connection.fetchrow(CANCEL, contact_id, client_id, reason, at_ms, sorted(OVER))
            if found is not None:
                row = cancellation(contact_id=contact_id, reason=reason, at_ms=at_ms, **found)
                await insert(connection, [row])
                return row
            state = await connection.fetchval(
                "SELECT state FROM contact WHERE contact_id = $1 AND client_id = $2", contact_id, client_id
            )
        if state is None:
            return Refused(reason=Refusal.NOT_FOUND, detail="There is no such contact of yours.")
        if state in OVER:
            return Refused(reason=Refusal.CONTACT_OVER, detail=f"The contact is in state {state}.")
        return None

    async def get(self, *, contact_id: str, client_id: str) -> dict[str, Any] | None:
        """One contact of this client, without personal data."""
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow(
                f"SELECT {PUBLIC} FROM contact WHERE contact_id = $1 AND client_id = $2",
                contact_id,
                client_id,
            )
        return None if row is None else dict(row)

    async def page(self, *, client_id: str, before: str, limit: int) -> list[dict[str, Any]]:
        """Contacts of this client, newest first, below the id `before`."""
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(
                f"SELECT {PUBLIC} FROM contact WHERE client_id = $1 AND contact_id < $2"
                " ORDER BY contact_id DESC LIMIT $3",
                client_id,
                before,
                limit,
            )
        return [dict(row) for row in rows]

    async def count_waiting(self, *, client_id: str, most: int) -> int:
        """How many contacts of this client are with no agent yet, counted up to `most`."""
        async with borrowed(self._pool) as connection:
            return int(await connection.fetchval(COUNT_WAITING, client_id, most))

    async def is_known(self, *, client_id: str, idempotency_key: str) -> bool:
        """Whether a contact was accepted with this key."""
        async with borrowed(self._pool) as connection:
            found = await connection.fetchval(
                "SELECT 1 FROM idempotency_key WHERE client_id = $1 AND key = $2", client_id, idempotency_key
            )
        return found is not None

    async def customer(
        self, *, contact_id: str, agent_id: str, session_no: int | None
    ) -> dict[str, Any] | Refused | None:
        """See `intake.ports.Contacts`."""
        async with borrowed(self._pool) as connection:
            found = await connection.fetchrow(CUSTOMER, contact_id, agent_id, sorted(READERS))
        assert found is not None, "one row, whatever is there"
        known = None
        if found["session_no"] is not None:
            known = KnownSession(session_no=found["session_no"], is_over=found["is_over"])
        fits = session_fits(known, session_no=session_no)
        if fits is False:
            return Refused(reason=Refusal.SESSION_OVER, detail=session_is_over(session_no))
        if fits is None or found["customer"] is None:
            return None
        return msgspec.json.decode(found["customer"], type=dict[str, Any])

    async def note_read(self, *, contact_id: str, agent_id: str, session_no: int | None) -> None:
        """See `intake.ports.Contacts`."""
        async with borrowed(self._pool) as connection:
            await connection.execute(NOTE_READ, agent_id, contact_id, f"session {session_no or 'present'}")


def _given_columns(given: Sequence[tuple[NewContact, Receipt, str, OutboxRow]]) -> list[list[object]]:
    rows = [
        (
            contact.client_id,
            contact.idempotency_key,
            contact.body_hash,
            receipt.contact_id,
            pool,
            contact.queue,
            contact.channel,
            receipt.priority,
            msgspec.json.encode(contact.requirements).decode(),
            contact.external_id,
            contact.customer,
            receipt.accepted_at_ms,
            msgspec.json.encode(contact.wishes).decode(),
        )
        for contact, receipt, pool, _ in given
    ]
    return [list(column) for column in zip(*rows, strict=True)]


async def _first_receipts(
    connection: Connection, contacts: Sequence[NewContact]
) -> dict[tuple[str, str], dict[str, Any]]:
    rows = await connection.fetch(FIRST_RECEIPT, [c.client_id for c in contacts], [c.idempotency_key for c in contacts])
    return {(row["client_id"], row["key"]): dict(row) for row in rows}


def _replayed(contact: NewContact, first: dict[str, Any]) -> Receipt | Refused:
    if first["body_hash"] != contact.body_hash:
        return Refused(reason=Refusal.KEY_REUSED, detail="The key belongs to a POST with another body.")
    return Receipt(
        contact_id=first["contact_id"],
        queue=first["queue"],
        channel=first["channel"],
        priority=first["priority"],
        accepted_at_ms=first["accepted_at_ms"],
        replayed=True,
    )
