"""What PostgreSQL gives besides tables, in memory: sessions, session locks, a clock, the outbox, followers' seats."""

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from common.contracts.topics import ROUTING, SHARDS
from common.runtime.bus import Incoming, Place
from common.runtime.failures import Retryable
from common.runtime.following import IDLE_SESSION_TIMEOUT_S, OpenSeat, Seat, Sequences
from common.runtime.outbox import OutboxRow
from common.testing.faults import Line, through

Tables = TypeVar("Tables")
Later = Callable[[Callable[[], None]], None]
"""Takes a write that is done when the transaction is committed, together with all others of it."""
SWEEP_AGE_S = 0.5


class MemoryServer:
    """One database server's sessions. `now_s`: its own clock."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.now_s = now_s
        self._sessions: list[MemorySession] = []
        self._locks: dict[Hashable, MemorySession] = {}

    def session(self, line: Line, *, idle_max_s: float = 0.0) -> "MemorySession":
        """A new session of the process at the other end of `line`; silent for `idle_max_s`, it is ended (0: never)."""
        self._sessions = [one for one in self._sessions if one.is_open]
        self._sessions.append(MemorySession(self, line, idle_max_s))
        return self._sessions[-1]

    def holder(self, key: Hashable) -> "MemorySession | None":
        """Whose lock it is."""
        found = self._locks.get(key)
        return found if found is not None and found.is_open else None

    def lock(self, key: Hashable, session: "MemorySession") -> bool:
        """Take the lock, unless another session has it."""
        if self.holder(key) not in (None, session):
            return False
        self._locks[key] = session
        return True

    def end_sessions(self, line: Line) -> None:
        """The process is gone, and the server has noticed."""
        for session in self._sessions:
            if session.line is line:
                session.end()


class MemorySession:
    """A connection with what hangs on it. It ends once, from either side; its locks go with it."""

    def __init__(self, server: MemoryServer, line: Line, idle_max_s: float = 0.0) -> None:
        self.server = server
        self.line = line
        self._idle_max_s = idle_max_s
        self._heard_at_s = server.now_s()
        self._is_open = True

    @property
    def is_open(self) -> bool:
        """Whether neither side ended it, and it was not silent for too long."""
        if self._idle_max_s and self.server.now_s() - self._heard_at_s > self._idle_max_s:
            self._is_open = False
        return self._is_open

    def lock(self, key: Hashable) -> bool:
        """Take the lock, unless another session has it."""
        return self.server.lock(key, self)

    def end(self) -> None:
        """From the server's side; the client sees it at its next call."""
        self._is_open = False

    @asynccontextmanager
    async def call(self, what: str) -> AsyncIterator[None]:
        """One call; the block is what the server does. Raises `Retryable` when the session is over."""
        async with through(self.line, what):
            if not self.is_open:
                raise Retryable(f"{what}: the session was ended")
            self._heard_at_s = self.server.now_s()
            yield


class MemoryOutbox:
    """See `common.runtime.outbox.OutboxTable`. `rows` are shared by all replicas; `held` are those that one sweeps."""

    def __init__(self, server: MemoryServer, rows: "OutboxRows", line: Line) -> None:
        self._server, self._rows, self._line = server, rows, line

    async def forget(self, event_ids: Sequence[str]) -> None:
        """These were acknowledged."""
        async with through(self._line, "outbox forget"):
            for event_id in event_ids:
                self._rows.rows.pop(event_id, None)

    @asynccontextmanager
    async def left_lying(self, rows_max: int) -> AsyncIterator[list[OutboxRow]]:
        """Held while the block runs, so that two replicas do not publish the same."""
        rows: list[OutboxRow] = []
        try:
            async with through(self._line, "outbox sweep"):
                before_s = self._server.now_s() - SWEEP_AGE_S
                rows += [
                    row
                    for row, at_s in self._rows.rows.values()
                    if at_s < before_s and row.event_id not in self._rows.held
                ][:rows_max]
                self._rows.held.update(row.event_id for row in rows)
            yield rows
            async with through(self._line, "outbox swept"):
                for row in rows:
                    self._rows.rows.pop(row.event_id, None)
        finally:
            self._rows.held.difference_update(row.event_id for row in rows)

    async def size(self) -> tuple[int, float]:
        """How many there are, and the age of the oldest."""
        async with through(self._line, "outbox size"):
            oldest_s = min((at_s for _, at_s in self._rows.rows.values()), default=self._server.now_s())
            return len(self._rows.rows), self._server.now_s() - oldest_s


class OutboxRows:
    """The table `outbox` of one database: rows with the time at which they were written."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self.rows: dict[str, tuple[OutboxRow, float]] = {}
        self.held: set[str] = set()

    def add(self, rows: Sequence[OutboxRow]) -> None:
        """Part of the transaction that commits now."""
        for row in rows:
            self.rows[row.event_id] = (row, self._server.now_s())

    def speaks_of(self, key: str) -> bool:
        """Whether a fact about `key` still waits."""
        return any(row.key == key for row, _ in self.rows.values())


class Positions:
    """The tables `position`, `parked` and `progress` of one database."""

    def __init__(self) -> None:
        self.offsets: dict[Place, int] = {}
        self.marks: dict[int, int] = {}
        self.parked: dict[tuple[str, int, int], Incoming] = {}
        self.read_at_s: dict[str, float] = {}

    def load(self, topics: Sequence[str]) -> tuple[dict[Place, int], Sequences]:
        """Where to read on, for every partition of `topics`, and the marks of the shards' logs."""
        places = [Place(topic=topic, partition=number) for topic in topics for number in range(SHARDS)]
        return {place: self.offsets.get(place, 0) for place in places}, Sequences(self.marks)

    def park(self, record: Incoming) -> None:
        """Put aside what cannot be read."""
        self.parked.setdefault((record.topic, record.partition, record.offset), record)


class MemorySeat:
    """See `common.runtime.following.Seat`. `apply` sees tables whose writes are done when the positions are."""

    def __init__(
        self,
        session: MemorySession,
        *,
        name: str,
        positions: Positions,
        apply: Callable[[Sequence[Incoming], Later], Awaitable[None]],
    ) -> None:
        self._session = session
        self._name = name
        self._positions = positions
        self._apply = apply

    @classmethod
    def opener(
        cls,
        *,
        name: str,
        server: MemoryServer,
        line: Line,
        positions: Positions,
        tables: Callable[[Later], Tables],
        apply: Callable[[Tables, Sequence[Incoming]], Awaitable[None]],
    ) -> OpenSeat:
        """Opens seats of the follower `name`; see `PostgresSeat.opener`."""

        async def apply_on(records: Sequence[Incoming], later: Later) -> None:
            await apply(tables(later), records)

        async def open_seat() -> Seat:
            async with through(line, "open seat"):
                session = server.session(line, idle_max_s=IDLE_SESSION_TIMEOUT_S)
            return cls(session, name=name, positions=positions, apply=apply_on)

        return open_seat

    async def take(self) -> bool:
        """See `Seat`."""
        async with self._session.call("take seat"):
            return self._session.lock(("follower", self._name))

    async def positions(self, topics: Sequence[str]) -> tuple[dict[Place, int], Sequences]:
        """See `Seat`."""
        async with self._session.call("positions"):
            return self._positions.load(topics)

    async def commit(
        self,
        *,
        readable: Sequence[Incoming],
        bad: Sequence[Incoming],
        ends: Mapping[Place, int],
        marks: Mapping[int, int],
    ) -> None:
        """See `Seat`. What `apply` raises leaves everything as it was."""
        writes: list[Callable[[], None]] = []
        if readable:
            await self._apply(readable, writes.append)
        async with self._session.call("commit facts"):
            for record in bad:
                self._positions.park(record)
            for write in writes:
                write()
            for place, end in ends.items():
                self._positions.offsets[place] = end
                if place.topic.endswith(ROUTING.name):
                    self._positions.marks[place.partition] = marks.get(place.partition, 0)

    async def note(self) -> None:
        """See `Seat`."""
        async with self._session.call("note progress"):
            self._positions.read_at_s[self._name] = self._session.server.now_s()

    async def close(self) -> None:
        """See `Seat`."""
        self._session.end()
