"""A clock that moves when it is told to."""


class ManualClock:
    """See `common.runtime.clock.Clock`."""

    def __init__(self, now_ms: int = 1_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """The time it was set to."""
        return self._now_ms

    def advance(self, ms: int) -> None:
        """Let time go on."""
        self._now_ms += ms
