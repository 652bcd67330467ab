"""What one client may ask of us: requests a second for each key, contacts that wait at the same time. In this process.

An integration that posts too fast, or more than anybody can serve, is told so; others do not notice.
"""

from dataclasses import dataclass
from math import ceil, floor

from common.runtime.clock import monotonic_s
from intake.ports import Contacts

KEYS_MAX = 10_000
"""Keys and clients that are known; beyond it all are forgotten and begin anew."""
RECOUNTED_S = 2.0
"""How long a count of waiting contacts is good where it is near the limit: others may have ended or posted some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is left of a key's requests. `wait_s`: until the next one is allowed, 0 when this one is."""

    left: int
    full_in_s: float
    wait_s: float


class RequestRate:
    """So many requests a second for each key, and so many at once (GCRA: one number for each key)."""

    def __init__(self, *, per_s: float, burst: int) -> None:
        self._gap_s = 1 / per_s
        self._depth_s = burst / per_s
        self._burst = burst
        self._full_at_s: dict[str, float] = {}

    @property
    def policy(self) -> str:
        """The field RateLimit-Policy."""
        return f'"requests";q={self._burst};w={max(1, round(self._depth_s))}'

    def take(self, key_id: str) -> Budget:
        """Count a request of this key, unless it is one too many."""
        now_s = monotonic_s()
        full_at_s = max(self._full_at_s.get(key_id, now_s), now_s) + self._gap_s
        ahead_s = full_at_s - now_s
        if ahead_s > self._depth_s + 1e-9:
            return Budget(left=0, full_in_s=ahead_s - self._gap_s, wait_s=ahead_s - self._depth_s)
        if key_id not in self._full_at_s and len(self._full_at_s) >= KEYS_MAX:
            self._full_at_s.clear()
        self._full_at_s[key_id] = full_at_s
        return Budget(left=floor((self._depth_s - ahead_s) / self._gap_s + 1e-6), full_in_s=ahead_s, wait_s=0)


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


def seconds(wait_s: float) -> str:
    """For Retry-After: whole seconds, one at least."""
    return str(max(1, ceil(wait_s)))
