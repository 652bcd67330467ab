"""What a shard needs from the outside: a judge that keeps what is true."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.runtime.bus import Incoming, Place
from router.core.state import State
from router.core.values import Queue


class Fenced(Exception):
    """Another reign has begun, or ours did not get on as we thought: stop and forget."""


class Diverged(Exception):
    """Memory and database differ. Never tried again: count it, forget memory, rebuild."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A committed decision as it is published. `seq` is gapless within the shard."""

    seq: int
    epoch: int
    type: str
    at_ms: int
    key: str
    body: str
    correlation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """An offer's row. `released_at_ms` is set when it was over before it was committed; then it takes no units."""

    contact_id: str
    attempt: int
    agent_id: str
    accepted: bool
    units: tuple[int, ...]
    released_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRow:
    """A contact as the live table keeps it; `doc` is what a rebuild reads."""

    contact_id: str
    queue_id: str
    state: str
    attempt: int
    agent_id: str
    ended_at_ms: int | None
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Everything that one statement commits. `units`: attempts whose capacity units changed, with the new ones."""

    log: Sequence[LogLine]
    new_contacts: Sequence[ContactRow]
    contacts: Sequence[ContactRow]
    agents: Sequence[tuple[str, str]]
    capacities: Sequence[tuple[str, int]]
    released: Sequence[tuple[str, int, int]]
    accepted: Sequence[tuple[str, int]]
    units: Sequence[Assigned]
    assigned: Sequence[Assigned]


@dataclass(slots=True, kw_only=True)
class Reign:
    """What the owner of a shard got with the lease, and keeps up to date."""

    shard: int
    epoch: int
    last_seq: int
    published_seq: int
    offsets: dict[Place, int]


class Ledger(Protocol):
    """The tables of one shard, on one connection that holds the shard's lock."""

    async def rebuild(self, *, now_ms: int) -> State: ...

    async def commit(self, reign: Reign, batch: Batch) -> None:
        """One statement. Raises `Fenced`, `Diverged`, or `Retryable` when the outcome is unknown."""
        ...

    async def queue(self, queue_id: str) -> Queue | None: ...

    async def known(self, contact_ids: Sequence[str]) -> set[str]: ...

    async def unpublished(self, reign: Reign, *, after_seq: int, lines_max: int) -> list[LogLine]: ...

    async def park(self, record: Incoming) -> None: ...
