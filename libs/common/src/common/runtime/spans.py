"""What a span is, and what takes spans that are over: known to whoever makes them and to whoever sends them."""

from typing import Protocol

QUEUE_MAX = 2_048
"""Spans that wait for their receiver; beyond it new ones are dropped, and the exporter's log says so."""
EXPORT_TIMEOUT_S = 3.0
"""For one message to the receiver, and for what waits when the process stops."""

Parent = tuple[int, int]
"""Trace id and span id."""


class Spans(Protocol):
    """Takes spans that are over; never waits and never fails its caller."""

    def write(
        self, *, name: str, kind: str, me: Parent, parent: int, began_ns: int, failed: bool, **about: str | int
    ) -> None:
        """`parent`: a span id of the same trace, 0 for none."""
        ...

    def close(self) -> None:
        """Send what waits; after `EXPORT_TIMEOUT_S` the rest is dropped."""
        ...
