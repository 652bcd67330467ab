"""What reporting needs from the outside."""

from collections.abc import Sequence
from typing import Any, Protocol

from common.contracts import agents, config, contacts
from reporting.domain import Folded, Segment

Step = tuple[int, int | None, str, int, str, int | None, str | None, str | None]
"""(shard, seq, contact, at_ms, type, attempt, agent, reason)."""


class ReadModels(Protocol):
    """The rows that facts are folded into, inside one transaction."""

    async def load(self, contact_ids: Sequence[str]) -> dict[str, Folded]:
        """Contacts with their open segments."""
        ...

    async def write(self, *, folded: Sequence[Folded], closed: Sequence[Segment], steps: Sequence[Step]) -> None: ...

    async def put_stay(self, fact: agents.AgentPicture) -> None:
        """The agent's stay in a presence begins, and the one before ends; an older picture that comes late is ignored."""
        ...

    async def put_submission(self, fact: contacts.ContactSubmitted) -> None: ...

    async def put_queue(self, fact: config.QueueDefined) -> None: ...


class Figures(Protocol):
    """Answers of reporting; each says up to when the facts are in it. Raises `Retryable` when the database is away."""

    async def summary(self, queue: str, *, from_ms: int, to_ms: int, now_ms: int) -> dict[str, Any] | None:
        """Figures of the stays that began in a queue in an interval, and of who is there now; None for an unknown queue."""
        ...

    async def journey(self, contact_id: str) -> dict[str, Any] | None:
        """Everything that happened to a contact, in order; None for one that nobody heard of."""
        ...

    async def by_queue(self, *, from_ms: int) -> tuple[list[dict[str, Any]], int]:
        """All queues at a glance: the stays that began since `from_ms`, and who is there now, however long already.

        Returned with up to when the facts are in it.
        """
        ...
