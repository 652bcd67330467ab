"""Who was not let in: gathered, logged and put into the audit every few seconds, so that a storm of guesses writes a few lines."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import structlog

from common.runtime.database import Pool, borrowed
from common.runtime.failures import Retryable

log = structlog.get_logger()

EVERY_S = 10.0
KINDS_MAX = 100
"""Pairs of reason and subject that are told apart in one turn; more are counted together as `others`."""

Row = tuple[str, str, str, str]
"""Actor, action, subject, detail, as in the table `audit`."""


class RefusedCredentials:
    """Counts refusals by reason and subject until they are written down."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def note(self, why: str, subject: str) -> None:
        """One more. `subject`: the key or person, where it is certain who it is; else empty."""
        pair = (why, subject)
        self._counts[pair if pair in self._counts or len(self._counts) < KINDS_MAX else ("others", "")] += 1

    async def run(self, write: Callable[[Sequence[Row]], Awaitable[None]]) -> None:
        """Write down what was gathered, every `EVERY_S`, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.flush(write)

    async def flush(self, write: Callable[[Sequence[Row]], Awaitable[None]]) -> None:
        """Log and write what was gathered. What cannot be written stays for the next turn."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        rows = [
            (subject or "unknown", "credential.refused", subject or "unknown", f"{why}, {number} times")
            for (why, subject), number in sorted(counts.items())
        ]
        try:
            await write(rows)
        except Retryable as why:
            log.warning("refusals_not_written", why=str(why))
            for (reason, subject), number in counts.items():
                self._counts[(reason, subject) if len(self._counts) < KINDS_MAX else ("others", "")] += number
            return
        for (reason, subject), number in sorted(counts.items()):
            log.info("credentials_refused", why=reason, subject=subject, times=number)


def into_audit(pool: Pool) -> Callable[[Sequence[Row]], Awaitable[None]]:
    """Writes into the table `audit` of the service's database."""

    async def write(rows: Sequence[Row]) -> None:
        async with borrowed(pool) as connection:
            await connection.executemany(
                "INSERT INTO audit (actor, action, subject, detail) VALUES ($1, $2, $3, $4)", rows
            )

    return write
