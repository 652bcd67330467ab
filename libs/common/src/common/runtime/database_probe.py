"""Whether a service and its database fit together, clocks included, in words that name the setting and the way out.

Each migration says with which older code it still works (`works_with`), so that a schema may be newer than the code by
what was only added: that is how an upgrade rolls.
"""

import asyncio
from typing import Protocol

import asyncpg
import structlog

from common.runtime import metrics
from common.runtime.clock import Clock, monotonic_s
from common.runtime.database import AWAY, Pool

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
CLOCK_EVERY_S = 5.0
"""Seconds between two looks at the database's clock; a clock that was corrected counts within this time."""
PROMPT_S = 1.0
"""An answer that took longer says nothing about the time."""
LOOK = """
SELECT version_num, (SELECT revision FROM schema_floor), (extract(epoch FROM clock_timestamp()) * 1000)::bigint
  FROM alembic_version
"""
TIME = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
POOLED = (asyncpg.ProtocolViolationError, asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""What pgbouncer and its like make of our settings of a session and of our prepared statements."""
POOLER = (
    "a pooler stands in between, and one in transaction mode cannot be used: sessions have settings, locks and prepared"
    " statements; connect to PostgreSQL itself"
)
SAY_EVERY = 10
"""A service that waits says so at every so many looks."""


class Heed(Protocol):
    """See `common.runtime.clock.SystemClock.heed`."""

    def __call__(self, database_ms: int, /, *, skew_max_ms: int) -> int: ...


def _as_it_is(_database_ms: int, /, *, skew_max_ms: int) -> int:
    return 0


class DatabaseProbe:
    """Looks at the database of one service. `prefix`: of its settings; `wants`: the revision its code was written for.

    `skew_max_s`: how far `clock`, by which waits and hours are told, may be from the database's. `heed` corrects that clock.
    """

    def __init__(
        self, pool: Pool, *, prefix: str, wants: str, clock: Clock, skew_max_s: float, heed: Heed = _as_it_is
    ) -> None:
        self._pool = pool
        self._prefix = prefix
        self._wants = wants
        self._clock = clock
        self._skew_max_s = skew_max_s
        self._heed = heed

    async def trouble(self) -> str:
        """What is wrong; empty when the service can work."""
        why = await self._look()
        metrics.database_trouble.set(bool(why))
        return why

    async def _look(self) -> str:
        try:
            async with self._pool.acquire(timeout=2) as connection:
                row = await connection.fetchrow(LOOK)
                now_ms = self._clock.now_ms()
        except asyncpg.InvalidAuthorizationSpecificationError:
            return f"the server refuses the role or its password: see {self._prefix}DATABASE_PASSWORD"
        except asyncpg.InvalidCatalogNameError:
            return f"the database of {self._prefix}DATABASE_URL does not exist: run the migrate job"
        except asyncpg.UndefinedTableError:
            return "the database is empty or older than this release: run the migrate job"
        except POOLED as why:
            return f"{POOLER} ({why}): see {self._prefix}DATABASE_URL"
        except AWAY as why:
            return f"not reachable ({type(why).__name__}): is {self._prefix}DATABASE_URL right and the server up?"
        found, floor, theirs_ms = row if row is not None else (None, None, now_ms)
        return self._judge_schema(found, floor) or self._judge_clock((now_ms - theirs_ms) / 1000)

    def _judge_schema(self, found: str | None, floor: str | None) -> str:
        if found is None or floor is None or found < self._wants:
            return f"its schema is {found}, this release needs {self._wants}: run the migrate job of this release"
        if floor > self._wants:
            return f"its schema is {found} and works with code of {floor} on; this is {self._wants}: deploy a newer release"
        return ""

    def _judge_clock(self, skew_s: float) -> str:
        if abs(skew_s) <= self._skew_max_s:
            return ""
        return (
            f"this clock is {skew_s:+.0f} s off the database's, {self._prefix}CLOCK_SKEW_MAX_S is {self._skew_max_s:g}:"
            " run NTP on both machines; this service is ready again by itself when they agree"
        )

    async def wait(self) -> None:
        """Return when the service can work; until then say now and then why it cannot."""
        looks = 0
        await self.keep_time()
        while why := await self.trouble():
            if looks % SAY_EVERY == 0:
                log.warning("database_not_usable", why=why)
            looks += 1
            await asyncio.sleep(LOOK_EVERY_S)
            await self.keep_time()

    async def run(self) -> None:
        """Keep our clock with the database's until cancelled. Raises `ClockAhead` when only a new beginning helps."""
        while True:
            await asyncio.sleep(CLOCK_EVERY_S)
            await self.keep_time()

    async def keep_time(self) -> None:
        """Look at the database's clock and heed it. A database that is away says nothing."""
        try:
            async with self._pool.acquire(timeout=2) as connection:
                asked_s = monotonic_s()
                database_ms = await connection.fetchval(TIME)
                if monotonic_s() - asked_s > PROMPT_S:
                    return
        except (*AWAY, asyncpg.PostgresError):
            return  # `trouble` says why
        moved_ms = self._heed(database_ms, skew_max_ms=round(self._skew_max_s * 1000))
        if moved_ms:
            log.warning("clock_corrected", by_ms=moved_ms)
