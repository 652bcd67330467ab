"""Whether a service and its database fit together, in words that name the setting and the way out.

Each migration says with which older code it still works (`works_with`), so that a schema may be newer than the code by
what was only added: that is how an upgrade rolls.
"""

import asyncio

import asyncpg
import structlog

from common.runtime import metrics
from common.runtime.database import AWAY, Pool

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
SAY_EVERY = 10
"""A service that waits says so at every so many looks."""


class SchemaProbe:
    """Looks at the database of one service. `prefix`: of its settings; `wants`: the revision its code was written for."""

    def __init__(self, pool: Pool, *, prefix: str, wants: str) -> None:
        self._pool = pool
        self._prefix = prefix
        self._wants = wants

    async def trouble(self) -> str:
        """What is wrong; empty when the service can work."""
        why = await self._look()
        metrics.database_trouble.set(bool(why))
        return why

    async def _look(self) -> str:
        try:
            async with self._pool.acquire(timeout=2) as connection:
                found = await connection.fetchval("SELECT version_num FROM alembic_version")
                floor = await connection.fetchval("SELECT revision FROM schema_floor")
        except asyncpg.InvalidAuthorizationSpecificationError:
            return f"the server refuses the role or its password: see {self._prefix}DATABASE_PASSWORD"
        except asyncpg.InvalidCatalogNameError:
            return f"the database of {self._prefix}DATABASE_URL does not exist: run the migrate job"
        except asyncpg.UndefinedTableError:
            return "the database is empty or older than this release: run the migrate job"
        except AWAY as why:
            return f"not reachable ({type(why).__name__}): is {self._prefix}DATABASE_URL right and the server up?"
        if found is None or found < self._wants:
            return f"its schema is {found}, this release needs {self._wants}: run the migrate job of this release"
        if floor > self._wants:
            return f"its schema is {found} and works with code of {floor} on; this is {self._wants}: deploy a newer release"
        return ""

    async def wait(self) -> None:
        """Return when the service can work; until then say now and then why it cannot."""
        looks = 0
        while why := await self.trouble():
            if looks % SAY_EVERY == 0:
                log.warning("database_not_usable", why=why)
            looks += 1
            await asyncio.sleep(LOOK_EVERY_S)
