"""What intake's handlers need."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from common.contracts.config import QueueDefined
from common.runtime.outbox import OutboxRow
from intake.domain import KeyHolder, KeyRefused, KnownSession, NewContact, Receipt, Refused, Standing


class Contacts(Protocol):
    """Contacts as accepted. Every method raises `Retryable` when the database is away."""

    async def accept(self, given: Sequence[tuple[NewContact, Receipt, str, OutboxRow]]) -> list[Receipt | Refused]:
        """One statement for all: (contact, receipt, pool, outbox row); a known key gets its first receipt again."""
        ...

    async def cancel(self, *, contact_id: str, client_id: str, reason: str, at_ms: int) -> OutboxRow | Refused | None:
        """Ask for the end of a contact; None when that was asked before."""
        ...

    async def call_back(
        self, *, contact_id: str, client_id: str, not_before_ms: int | None, at_ms: int
    ) -> OutboxRow | Refused:
        """Ask for a callback instead of waiting; the wish is kept, in the place of one before, until it is granted."""
        ...

    async def last_agent(self, *, client_id: str, customer: str) -> str:
        """Who had the customer's last contact of this client; empty when nobody had one."""
        ...

    async def get(self, *, contact_id: str, client_id: str) -> dict[str, Any] | None:
        """One contact of this client, without personal data."""
        ...

    async def page(self, *, client_id: str, before: str, limit: int) -> list[dict[str, Any]]:
        """Contacts of this client, newest first, below the id `before`."""
        ...

    async def count_waiting(self, *, client_id: str, most: int) -> int:
        """How many contacts of this client are with no agent yet, counted up to `most`."""
        ...

    async def is_known(self, *, client_id: str, idempotency_key: str) -> bool:
        """Whether a contact was accepted with this key."""
        ...

    async def customer(
        self, *, contact_id: str, agent_id: str, session_no: int | None
    ) -> dict[str, Any] | Refused | None:
        """The customer's details, for the agent who holds the contact, in its present session; None: not, or not yet."""
        ...

    async def note_read(self, *, contact_id: str, agent_id: str, session_no: int | None) -> None:
        """Put into the audit who read whose details; none of the details."""
        ...


class Keys(Protocol):
    """API keys. Every method raises `Retryable` when the database is away; what changes a key says by whom (`actor`), and is
    in force within five seconds on every replica."""

    async def holder_of(self, credential: str) -> KeyHolder | KeyRefused:
        """Who holds the key, or why it is refused."""
        ...

    async def make(
        self, *, client: str, scopes: Sequence[str], expires_at: datetime | None, actor: str
    ) -> tuple[str, dict[str, Any]]:
        """A new key: its credential, which is kept nowhere, and how it stands."""
        ...

    async def page(self, *, after: str, limit: int) -> list[dict[str, Any]]:
        """Keys in the order of their ids."""
        ...

    async def rotate(self, key_id: str, *, grace: timedelta, actor: str) -> tuple[str, dict[str, Any]] | None:
        """A new secret; the one of before is valid for the grace. None when there is no such key in force."""
        ...

    async def change(
        self, key_id: str, *, scopes: Sequence[str], expires_at: datetime | None, actor: str
    ) -> dict[str, Any] | None:
        """Set scopes and end; None when there is no such key, or it was revoked."""
        ...

    async def revoke(self, key_id: str, *, actor: str) -> dict[str, Any] | None:
        """End a key for good, however often asked; None when there is no such key."""
        ...


class Catalogue(Protocol):
    """Queues and skills that exist, as far as the facts have reached us."""

    async def queue(self, queue_id: str) -> tuple[str, int] | None:
        """Pool and default priority."""
        ...

    async def missing_skills(self, skills: Sequence[str]) -> list[str]: ...


class Projections(Protocol):
    """Tables that follow the facts of others, inside one transaction."""

    async def know_queue(self, fact: QueueDefined) -> None:
        """A queue exists, unless we know a later version."""
        ...

    async def know_skill(self, skill: str) -> None: ...

    async def know_sessions(self, sessions: Mapping[str, KnownSession]) -> None:
        """The latest session of each agent; older ones change nothing."""
        ...

    async def move_contacts(self, standings: Mapping[str, Standing]) -> None:
        """How the contacts stand after the router's facts."""
        ...

    async def grant_callbacks(self, granted: Mapping[str, int]) -> None:
        """Wishes that the router granted: contact and when it was wished."""
        ...


class Repeats(Protocol):
    """Facts that nobody confirmed. Raises `Retryable` when the database is away."""

    async def repeat(self, *, before_ms: int, now_ms: int) -> int:
        """Put into the outbox again what was said before `before_ms` and had no effect; returns how many facts."""
        ...


class Relay(Protocol):
    """Publishes committed rows soon."""

    def hand_over(self, rows: Sequence[OutboxRow]) -> None: ...
