"""Queues and skills that exist: read from our own tables, remembered for a moment."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from common.runtime.clock import monotonic_s
from common.runtime.database import Pool, borrowed

REMEMBERED_S = 2.0
"""How old what we remember may be: a change of a queue counts after that."""
ABSENT_S = 0.05
"""A name that nobody defined is looked up once in this time, however many ask for it."""
NAMES_MAX = 10_000

Value = TypeVar("Value")


class PostgresCatalogue:
    """See `intake.ports.Catalogue`. What is not remembered is looked up by its name, never by reading a table."""

    def __init__(self, pool: Pool) -> None:
        self._queues = Remembered[tuple[str, int]](self._read_queues)
        self._skills = Remembered[str](self._read_skills)
        self._pool = pool

    async def queue(self, queue_id: str) -> tuple[str, int] | None:
        """Pool and default priority."""
        return (await self._queues.get([queue_id])).get(queue_id)

    async def missing_skills(self, skills: Sequence[str]) -> list[str]:
        """Those of `skills` that nobody defined."""
        return sorted(set(skills) - (await self._skills.get(skills)).keys())

    async def _read_queues(self, names: Sequence[str]) -> dict[str, tuple[str, int]]:
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(
                "SELECT queue_id, pool, priority FROM queue WHERE queue_id = ANY($1::text[])", names
            )
        return {row["queue_id"]: (row["pool"], row["priority"]) for row in rows}

    async def _read_skills(self, names: Sequence[str]) -> dict[str, str]:
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch("SELECT skill FROM skill WHERE skill = ANY($1::text[])", names)
        return {row["skill"]: row["skill"] for row in rows}


class Remembered(Generic[Value]):
    """What `read` found by name, for `REMEMBERED_S`; and for `ABSENT_S` that it found nothing. Each holds `NAMES_MAX` names
    at most; one more and all of that side are forgotten and read again."""

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[dict[str, Value]]]) -> None:
        self._read = read
        self._there: dict[str, tuple[Value, float]] = {}
        self._absent: dict[str, float] = {}

    async def get(self, names: Sequence[str]) -> dict[str, Value]:
        """Those of `names` that are there."""
        now_s = monotonic_s()
        asked = [name for name in set(names) if not self._is_remembered(name, now_s)]
        if asked:
            found = await self._read(asked)
            for name in asked:
                self._remember(name, found.get(name), now_s)
        return {name: self._there[name][0] for name in names if name in self._there}

    def _is_remembered(self, name: str, now_s: float) -> bool:
        there = self._there.get(name)
        if there is not None:
            return now_s - there[1] <= REMEMBERED_S
        return now_s - self._absent.get(name, -ABSENT_S) < ABSENT_S

    def _remember(self, name: str, value: Value | None, now_s: float) -> None:
        self._there.pop(name, None)
        self._absent.pop(name, None)
        if value is None:
            _make_room(self._absent)
            self._absent[name] = now_s
        else:
            _make_room(self._there)
            self._there[name] = (value, now_s)


def _make_room(names: dict[str, Any]) -> None:
    if len(names) >= NAMES_MAX:
        names.clear()
