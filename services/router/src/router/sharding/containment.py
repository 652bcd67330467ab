"""One bad record never stops a shard: what failed is tried again with care, and set aside when it fails again and again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from common.runtime.bus import Incoming, Place
from router import metrics

TRIES_MAX = 3
"""A record, or a timer, that made us fail so often is set aside: the record is parked, the timer rings no more."""
GIVEN_UP_MAX = 20
"""Records given up one after the other; after so many it is not the records: the shard stands, and says so, until we are mended."""
SET_ASIDE_MAX = 1_000
"""Timers that are set aside at a time; beyond it the oldest may ring again."""

Timer = tuple[str, str]
"""What it is about ("contact", "agent" or "queue"), and its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """What was being applied when a shard failed.

    `record`: the one that was being applied, where that is known; `timer`: the one that was ringing, and then the record has
    no part in it.
    """

    records: tuple[Incoming, ...] = ()
    record: Incoming | None = None
    timer: Timer | None = None


@dataclass(slots=True)
class Care:
    """What a shard's failures taught this process. It outlives the shard's tenures, and forgets what was got past."""

    tries: dict[tuple[Place, int], int] = field(default_factory=dict)
    timer_tries: dict[Timer, int] = field(default_factory=dict)
    suspect_until: dict[Place, int] = field(default_factory=dict)
    set_aside: dict[Timer, None] = field(default_factory=dict)
    given_up: set[tuple[Place, int]] = field(default_factory=set)

    def failed(self, blame: Blame) -> None:
        """The shard failed, and will be built anew and go on from its last commit."""
        for record in blame.records:
            place = place_of(record)
            self.suspect_until[place] = max(self.suspect_until.get(place, 0), record.offset + 1)
        if blame.timer is not None:
            self._timer_failed(blame.timer)
        elif blame.record is not None:
            key = (place_of(blame.record), blame.record.offset)
            self.tries[key] = self.tries.get(key, 0) + 1

    def is_careful(self, offsets: Mapping[Place, int]) -> bool:
        """Whether records come now that were part of a failure: then one at a time, so that only the culprit is blamed.

        `offsets`: where each place is read on.
        """
        for place in [one for one, end in self.suspect_until.items() if offsets.get(one, 0) >= end]:
            del self.suspect_until[place]
            self.tries = {key: count for key, count in self.tries.items() if key[0] != place}
        return bool(self.suspect_until)

    def gives_up(self, record: Incoming) -> bool:
        """Whether the record was tried often enough to be set aside."""
        if not self.tries:
            return False
        key = (place_of(record), record.offset)
        if self.tries.get(key, 0) < TRIES_MAX or (len(self.given_up) >= GIVEN_UP_MAX and key not in self.given_up):
            return False
        self.given_up.add(key)
        return True

    def got_on(self) -> None:
        """Records were applied: it is not all of them that make us fail."""
        self.given_up.clear()

    def _timer_failed(self, timer: Timer) -> None:
        self.timer_tries[timer] = self.timer_tries.get(timer, 0) + 1
        if self.timer_tries[timer] >= TRIES_MAX:
            del self.timer_tries[timer]
            self.set_aside[timer] = None
            metrics.timers_set_aside.inc()
            while len(self.set_aside) > SET_ASIDE_MAX:
                del self.set_aside[next(iter(self.set_aside))]


def place_of(record: Incoming) -> Place:
    """Where the record lies."""
    return Place(topic=record.topic, partition=record.partition)


def described(records: Iterable[Incoming]) -> list[str]:
    """The records for a log line: where they lie and what they are, nothing of what they say."""
    return [
        f"{one.topic}/{one.partition}@{one.offset} {one.envelope.type if one.envelope is not None else 'unreadable'}"
        for one in records
    ]


def cause_of(error: BaseException) -> BaseException:
    """The first of the errors that a group of tasks ended with."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def where(error: BaseException) -> str:
    """File and line in which the error was raised, without what was being done there."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"


def reason_of(error: BaseException) -> str:
    """Why a record is parked that made us fail."""
    return f"made the router fail {TRIES_MAX} times: {type(error).__name__} at {where(error)}"
