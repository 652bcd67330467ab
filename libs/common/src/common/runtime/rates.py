"""How often one caller may ask: so many requests a second and so many at once. In this process."""

from dataclasses import dataclass
from math import ceil, floor

from common.runtime.clock import monotonic_s

KEYS_MAX = 50_000
"""Callers that are known; beyond it all are forgotten and begin anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is left of a caller's requests. `wait_s`: until the next one is allowed, 0 when this one is."""

    left: int
    full_in_s: float
    wait_s: float


class RequestRate:
    """So many requests a second for each caller, and so many at once (GCRA: one number for each)."""

    def __init__(self, *, per_s: float, burst: int) -> None:
        self._gap_s = 1 / per_s
        self._depth_s = burst / per_s
        self._burst = burst
        self._full_at_s: dict[str, float] = {}

    @property
    def policy(self) -> str:
        """The field RateLimit-Policy."""
        return f'"requests";q={self._burst};w={max(1, round(self._depth_s))}'

    def take(self, caller: str) -> Budget:
        """Count a request of this caller, unless it is one too many."""
        now_s = monotonic_s()
        full_at_s = max(self._full_at_s.get(caller, now_s), now_s) + self._gap_s
        ahead_s = full_at_s - now_s
        if ahead_s > self._depth_s + 1e-9:
            return Budget(left=0, full_in_s=ahead_s - self._gap_s, wait_s=ahead_s - self._depth_s)
        if caller not in self._full_at_s and len(self._full_at_s) >= KEYS_MAX:
            self._full_at_s.clear()
        self._full_at_s[caller] = full_at_s
        return Budget(left=floor((self._depth_s - ahead_s) / self._gap_s + 1e-6), full_in_s=ahead_s, wait_s=0)


def seconds(wait_s: float) -> str:
    """For Retry-After: whole seconds, one at least."""
    return str(max(1, ceil(wait_s)))
