"""A generated day of a call centre, from the published figures of a real one.

Source of the figures: Brown, Gans, Mandelbaum, Sakov, Shen, Zeltyn, Zhao, "Statistical analysis of a telephone call
center", JASA 2005: arrival curve with a random rate, log-normal service, exponential patience, six types of call.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import log
from random import Random

from porchlight.replay.call_log import COLUMNS, clock

CURVE = (
    (7.0, 16.9),
    (8.5, 53.5),
    (10.0, 64.2),
    (12.5, 46.7),
    (16.0, 59.7),
    (19.0, 32.7),
    (21.0, 25.7),
    (23.5, 16.1),
    (24.0, 0.0),
)
"""(hour, arrivals a half hour), linear between."""
RATE_SHAPE = 20.0
"""The rate of each half hour is a Gamma variable with this shape: about three times a Poisson count's variance."""
SIGMA = 0.928
TYPES = {  # share, mean service in s, mean patience in s
    "PS": (0.686, 180.0, 475.0),
    "NW": (0.180, 105.0, 218.0),
    "NE": (0.070, 275.0, 897.0),
    "IN": (0.036, 425.0, 466.0),
    "TT": (0.024, 113.0, 322.0),
    "PE": (0.004, 238.0, 438.0),
}
CREW = (  # number, types, from hour, to hour: people at home, most of them part-time
    (4, ("NW", "PE", "PS", "TT"), 6.9, 12.0),
    (3, ("NE", "NW", "PS", "TT"), 7.5, 13.0),
    (5, ("NW", "PE", "PS", "TT"), 11.5, 17.5),
    (2, ("NE", "NW", "PS", "TT"), 12.5, 19.0),
    (4, ("NW", "PE", "PS", "TT"), 17.0, 24.0),
    (2, ("NE", "NW", "PS", "TT"), 18.5, 24.0),
    (2, ("IN",), 6.9, 15.5),
    (2, ("IN",), 15.0, 24.0),
)
DATE = "260105"
DAY = "2026-01-05"


@dataclass(slots=True)
class _Seat:
    name: str
    types: tuple[str, ...]
    start_s: float
    end_s: float
    free_at_s: float = 0.0


@dataclass(slots=True, order=True)
class _Caller:
    arrival_s: float
    number: int
    type: str = field(compare=False)
    service_s: int = field(compare=False)
    patience_s: float = field(compare=False)


def generate(seed: int, *, scale: float = 1.0) -> str:
    """A day as a call log; the same seed gives the same bytes. `scale` multiplies the arrivals."""
    random = Random(seed)
    seats = [
        _Seat(f"H{10 * group + n:02d}", types, start * 3600, end * 3600, start * 3600)
        for group, (number, types, start, end) in enumerate(CREW, start=1)
        for n in range(number)
    ]
    lines = ["\t".join(COLUMNS)]
    for caller, answered_s, seat in _serve(_callers(random, scale), seats):
        lines.append(_line(caller, answered_s, seat))
    return "\n".join(lines) + "\n"


def _callers(random: Random, scale: float) -> list[_Caller]:
    callers: list[_Caller] = []
    names = list(TYPES)
    shares = [TYPES[name][0] for name in names]
    for half in range(14, 48):
        hour = half / 2
        mean = _rate(hour + 0.25) * scale * random.gammavariate(RATE_SHAPE, 1 / RATE_SHAPE)
        at = hour * 3600 + (random.expovariate(mean / 1800) if mean else 1800)
        while at < (hour + 0.5) * 3600:
            kind = random.choices(names, shares)[0]
            _, service, patience = TYPES[kind]
            drawn = random.lognormvariate(log(service) - SIGMA**2 / 2, SIGMA)
            callers.append(
                _Caller(at, len(callers), kind, max(5, round(drawn)), max(1.0, random.expovariate(1 / patience)))
            )
            at += random.expovariate(mean / 1800)
    return callers


def _rate(hour: float) -> float:
    for (left, low), (right, high) in pairwise(CURVE):
        if left <= hour <= right:
            return low + (high - low) * (hour - left) / (right - left)
    return 0.0


def _serve(callers: list[_Caller], seats: list[_Seat]) -> Iterator[tuple[_Caller, float | None, str]]:
    """First come, first served among those whom the freed seat can serve; yields in order of arrival."""
    events = [(caller.arrival_s, 0, caller.number) for caller in callers]
    events += [(seat.start_s, 1, number) for number, seat in enumerate(seats)]
    heapq.heapify(events)
    waiting: list[_Caller] = []
    answers: dict[int, tuple[float, str]] = {}
    while events:
        now, kind, number = heapq.heappop(events)
        if kind == 0:
            waiting.append(callers[number])
        waiting = [caller for caller in waiting if caller.arrival_s + caller.patience_s > now]
        for caller in sorted(waiting):
            free = [s for s in seats if caller.type in s.types and s.start_s <= now < s.end_s and s.free_at_s <= now]
            if free:
                seat = min(free, key=lambda s: (s.free_at_s, s.name))
                seat.free_at_s = now + caller.service_s
                answers[caller.number] = (now, seat.name)
                waiting.remove(caller)
                heapq.heappush(events, (seat.free_at_s, 1, seats.index(seat)))
    for caller in callers:
        answered_s, name = answers.get(caller.number, (None, "NO_SERVER"))
        yield caller, answered_s, name


def _line(caller: _Caller, answered_s: float | None, seat: str) -> str:
    arrival = int(caller.arrival_s)
    left = int(answered_s if answered_s is not None else caller.arrival_s + caller.patience_s)
    queued = left > arrival
    service = caller.service_s if answered_s is not None else 0
    if answered_s is None and not queued:
        left, queued = arrival + 1, True
    zero = "0:00:00"
    fields = [
        "AA0101",
        str(10_001 + caller.number),
        f"C{caller.number % 700:05d}",
        "2" if caller.number % 3 == 0 else "1",
        caller.type,
        DATE,
        clock(max(0, arrival - 8)),
        clock(arrival),
        "8",
        clock(arrival) if queued else zero,
        clock(left) if queued else zero,
        str(left - arrival),
        "AGENT" if answered_s is not None else "HANG",
        clock(left) if answered_s is not None else zero,
        clock(left + service) if answered_s is not None else zero,
        str(service),
        seat,
    ]
    return "\t".join(fields)
