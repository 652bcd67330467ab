"""Looking again for what a fact brings that is on its way: a caller who was told "done" elsewhere must not be told "unknown" here."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from common.runtime.clock import made_at_ms, monotonic_s
from common.runtime.failures import Retryable

Found = TypeVar("Found")

WAIT_S = 2.0
"""A fact takes 0.1 s from one service to another; who is not there after this is not on the way."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.25
CALLERS_MAX = 64
"""Callers that may look again at the same time; one more is told to come again (`Retryable`)."""


YOUNG_MS = 60_000
"""A contact that is older than this, by the clock of who made its id, is not on its way any more: as far apart as clocks may be."""


def is_young(contact_id: str, now_ms: int) -> bool:
    """Whether the contact may have been made a moment ago, so that its facts may be on their way."""
    at_ms = made_at_ms(contact_id)
    return at_ms is not None and abs(now_ms - at_ms) < YOUNG_MS


class OnItsWay:
    """Bounded patience with facts of other services, shared by all callers of one process."""

    def __init__(self, *, wait_s: float = WAIT_S, callers_max: int = CALLERS_MAX) -> None:
        self._wait_s = wait_s
        self._callers_max = callers_max
        self._callers = 0

    async def look(self, look: Callable[[], Awaitable[Found | None]], *, may_come: bool = True) -> Found | None:
        """What `look` finds at once or, where it `may_come`, within the wait, else None. Raises `Retryable` when too many wait."""
        found = await look()
        if found is not None or not may_come:
            return found
        if self._callers >= self._callers_max:
            raise Retryable("too many callers wait for facts that may be on their way")
        self._callers += 1
        try:
            return await self._look_again(look)
        finally:
            self._callers -= 1

    async def _look_again(self, look: Callable[[], Awaitable[Found | None]]) -> Found | None:
        deadline_s, pause_s = monotonic_s() + self._wait_s, FIRST_PAUSE_S
        while (left_s := deadline_s - monotonic_s()) > 0:
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            found = await look()
            if found is not None:
                return found
        return None
