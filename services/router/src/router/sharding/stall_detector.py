"""Whether our own reigns get on: a loop that stands still would keep its shard, and renew its lease, for ever. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

STALLED_S = 20.0
"""A reign that did not turn for so long is ended, and no longer renewed, so that any instance may begin another. Every wait
inside a reign has a bound of at most five seconds, so only a mistake of ours (or a library's) stands still for longer."""
PAUSE_S = 5.0
"""After a pause of our own of this length between two looks (a machine that slept), stillness proves nothing."""


@dataclass(slots=True)
class Progress:
    """What this instance saw of its own reigns, on its own monotonic clock."""

    seen: dict[int, tuple[object, float]] = field(default_factory=dict)
    looked_at: float = 0.0

    def still_s(self, marks: Mapping[int, object], now_s: float) -> dict[int, float]:
        """For each shard, how many seconds ago its mark last changed, as far as we watched.

        A mark is whatever is another value when the reign got on, or is another reign.
        """
        before = {} if now_s - self.looked_at > PAUSE_S else self.seen
        self.looked_at = now_s
        self.seen = {
            shard: before[shard] if shard in before and before[shard][0] == mark else (mark, now_s)
            for shard, mark in marks.items()
        }
        return {shard: now_s - since for shard, (_, since) in self.seen.items()}
