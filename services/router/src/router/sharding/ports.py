"""What a shard needs from the outside: a judge that keeps what is true."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.runtime.bus import Incoming, Place
from router.core.index.state import State
from router.core.model.queue import Queue
from router.sharding.assignment import Lease


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
    """An offer's row. `released_at_ms` is set when it was over before it was committed; then it takes no units.

    `over` says why units with numbers beyond `capacity` may be taken; where it is empty they are refused.
    """

    contact_id: str
    attempt: int
    agent_id: str
    accepted: bool
    units: tuple[int, ...]
    released_at_ms: int | None
    capacity: int = 0
    over: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """An agent's declared capacity after the batch, and the most that it was at any moment of it."""

    agent_id: str
    units: int
    most: int


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
    capacities: Sequence[Capacity]
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

    async def rebuild(self, *, now_ms: int, got_on: Callable[[], None] = lambda: None) -> State:
        """The core's state as it was last committed, and checked; others go on meanwhile. `got_on` is called again and again."""
        ...

    async def commit(self, reign: Reign, batch: Batch) -> None:
        """One statement. Raises `Fenced`, `Diverged`, or `Retryable` when the outcome is unknown."""
        ...

    async def queue(self, queue_id: str) -> Queue | None: ...

    async def known(self, contact_ids: Sequence[str]) -> set[str]: ...

    async def elsewhere(self, agent_ids: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Units that contacts of other shards take of these agents; who has none such is left out."""
        ...

    async def unpublished(self, reign: Reign, *, after_seq: int, lines_max: int) -> list[LogLine]: ...

    async def park(self, record: Incoming) -> None: ...

    async def close(self) -> None:
        """Give the shard back."""
        ...


Take = Callable[[int], Awaitable[tuple[Ledger, Reign] | None]]
"""Begin a new reign over a shard; None when another session holds its lock. Raises `Retryable`."""


class Leases(Protocol):
    """What all routers share to agree on who owns what. Raises `Retryable`, or what a driver raises, when it is away."""

    async def look(self) -> tuple[list[Lease], dict[str, int], set[str]]:
        """Every lease, every instance's counter, and the instances that were asked to give their shards back."""
        ...

    async def renew(self, epochs: dict[int, int]) -> set[int]:
        """Show that we live, for ourselves and for each shard under our epoch; returns the shards that are still ours."""
        ...

    async def break_open(self, shards: Sequence[int]) -> None:
        """End the sessions of owners that stand still; their locks go with them, a moment later."""
        ...

    async def forget_instance(self, name: str) -> None:
        """Delete the row of an instance that is gone."""
        ...

    async def forget_connection(self) -> None:
        """The connection is no good: the next call opens another."""
        ...
