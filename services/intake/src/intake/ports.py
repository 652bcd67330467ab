"""What intake's handlers need."""

from collections.abc import Sequence
from typing import Protocol

from common.runtime.outbox import OutboxRow
from intake.domain import NewContact, Receipt, Refused


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
        """Ask for a callback instead of waiting."""
        ...

    async def last_agent(self, *, client_id: str, customer: str) -> str:
        """Who had the customer's last contact of this client; empty when nobody had one."""
        ...


class Catalogue(Protocol):
    """Queues and skills that exist, as far as the facts have reached us."""

    async def queue(self, queue_id: str) -> tuple[str, int] | None:
        """Pool and default priority."""
        ...

    async def missing_skills(self, skills: Sequence[str]) -> list[str]: ...


class Relay(Protocol):
    """Publishes committed rows soon."""

    def hand_over(self, rows: Sequence[OutboxRow]) -> None: ...
