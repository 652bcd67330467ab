"""What administration needs from the outside: queues and skills as they are kept."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from common.contracts.config import QueueDefined
from common.contracts.policies import QueuePolicy
from common.runtime.outbox import OutboxRow
from router.policies.validation import Fault

Judge = Callable[[Mapping[str, QueuePolicy]], list[Fault]]


def nothing_against(_policies: Mapping[str, QueuePolicy]) -> list[Fault]:
    """The judge of who was judged already."""
    return []


class Queues(Protocol):
    """Queues as administrators see them. Raises `Retryable` when the database is away."""

    async def put(
        self, queue_id: str, values: dict[str, Any], *, actor: str, judge: Judge = nothing_against
    ) -> tuple[QueueDefined, OutboxRow] | list[Fault] | None:
        """Define or change a queue, and what tells the others; None when it lies in another pool.

        `judge` sees the pool's policies as they are at that moment, and nobody changes one meanwhile; what it has against the
        queue is the answer, and nothing is saved.
        """
        ...

    async def known(self, pool: str) -> tuple[set[str], dict[str, QueuePolicy]]:
        """Every skill, and the policies of the pool's queues."""
        ...

    async def get(self, queue_id: str) -> tuple[QueueDefined, dict[str, int]] | None:
        """A queue, and how many live contacts it has by state."""
        ...

    async def list_all(self, *, after: str, limit: int) -> list[QueueDefined]:
        """Queues in the order of their ids."""
        ...


class Skills(Protocol):
    """Skills that exist, inside one transaction."""

    async def know(self, skills: Sequence[str]) -> None: ...
