"""How many contacts of one client may wait at the same time. In this process.

An integration that posts more than anybody can serve is told so; others do not notice.
"""

from dataclasses import dataclass

from common.runtime.clock import monotonic_s
from intake.ports import Contacts

KEYS_MAX = 10_000
"""Clients that are known; beyond it all are forgotten and begin anew."""
RECOUNTED_S = 2.0
"""How long a count of waiting contacts is good where it is near the limit: others may have ended or posted some."""


@dataclass(slots=True)
class _Count:
    counted: int
    counted_s: float
    since: int = 0


class Waiting:
    """How many contacts of a client wait at most. Counted in the database when a client is met first and when it may be near
    the limit, so that nobody else pays; several replicas together may pass it by what they accept in `RECOUNTED_S`."""

    def __init__(self, contacts: Contacts, *, waiting_max: int) -> None:
        self._contacts = contacts
        self.waiting_max = waiting_max
        self._counts: dict[str, _Count] = {}

    async def is_full(self, client_id: str) -> bool:
        """Whether one more contact is too many. Raises `Retryable`."""
        count = self._counts.get(client_id)
        is_old = count is None or monotonic_s() - count.counted_s > RECOUNTED_S
        if count is None or (is_old and 2 * (count.counted + count.since) >= self.waiting_max):
            if len(self._counts) >= KEYS_MAX:
                self._counts.clear()
            at_s = monotonic_s()
            counted = await self._contacts.count_waiting(client_id=client_id, most=self.waiting_max)
            count = self._counts[client_id] = _Count(counted, at_s)
        return count.counted + count.since >= self.waiting_max

    def accepted(self, client_id: str) -> None:
        """One more waits."""
        count = self._counts.get(client_id)
        if count is not None:
            count.since += 1
