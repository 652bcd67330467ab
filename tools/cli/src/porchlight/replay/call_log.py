"""A call centre's log, one line a call: the format that `porchlight replay` plays and `porchlight demo-day` writes.

Tab separated, one header line, 17 columns (see docs/call-log.md): `vru+line call_id customer_id priority type date
vru_entry vru_exit vru_time q_start q_exit q_time outcome ser_start ser_exit ser_time server`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path

from porchlight.files.names import id_of, same_name
from porchlight.files.tables import rows
from porchlight.installation import Trouble

COLUMNS = [
    *("vru+line", "call_id", "customer_id", "priority", "type", "date", "vru_entry", "vru_exit", "vru_time"),
    *("q_start", "q_exit", "q_time", "outcome", "ser_start", "ser_exit", "ser_time", "server"),
]
CALLS_MAX = 1_000_000
TIME = re.compile(r"([0-9]{1,2}):([0-5][0-9]):([0-5][0-9])")
NUMBER = re.compile(r"[0-9]{1,9}")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
DAY_S = 86_400
HOURS_MAX = 48
"""A call that goes on after midnight may be written with hours from 24 on."""
WORD_MAX = 100
"""Characters of a name, of a kind of call, and of a call's number."""
GAP_S, LEAD_S = 900, 30
"""Without a service for longer than the first an agent was away; it was there so long before and after its services."""
SHIFT_MARGIN_S = 600
"""An agent is there from so long before the first recorded service until so long after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that wanted an agent. Seconds of the day, and seconds. `patience_s`: when the customer hung up, if ever."""

    call_id: str
    type: str
    priority: int
    arrival_s: int
    wait_s: int
    patience_s: int | None
    service_s: int
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """When an agent (an id, see `files.names`) was at work, as far as the services tell: from each to the next, unless there
    is a long gap between.
    """

    agent: str
    types: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """When an agent (an id, see `files.names`) is there and which types it takes. Seconds of the day."""

    agent: str
    types: tuple[str, ...]
    start_s: int
    end_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day of a log: calls in order of arrival, and the crew."""

    calls: tuple[Call, ...]
    shifts: tuple[Shift, ...]

    @property
    def types(self) -> list[str]:
        """Every type of call."""
        return sorted({call.type for call in self.calls})


def read_day(path: Path, day: str) -> Day:
    """The calls of `day` (YYYY-MM-DD). `Trouble` names the line, and the field, that is not of the format."""
    wanted = _wanted(day)
    calls: list[Call] = []
    crew: dict[str, Crew] = {}
    for row in _rows(path):
        call = _noted(row, crew, wanted)
        if call is not None:
            calls.append(call)
    if not calls:
        raise Trouble(f"{path} has no call of {day}")
    return Day(
        calls=tuple(_with_service(sorted(calls, key=lambda c: (c.arrival_s, c.call_id)))),
        shifts=tuple(
            Shift(
                agent=agent,
                types=tuple(sorted(crew[agent].types)),
                start_s=min(start for start, _ in crew[agent].served) - SHIFT_MARGIN_S,
                end_s=max(end for _, end in crew[agent].served) + SHIFT_MARGIN_S,
            )
            for agent in sorted(crew)
            if crew[agent].served
        ),
    )


def seats(path: Path, day: str) -> list[Seat]:
    """The crew of `day`, with the breaks that show in what they served: a gap longer than `GAP_S` is one."""
    wanted = _wanted(day)
    crew: dict[str, Crew] = {}
    for row in _rows(path):
        _noted(row, crew, wanted)
    found = []
    for agent in sorted(set(crew) - {id_of("NO_SERVER")}):
        spans: list[tuple[int, int]] = []
        for start, end in sorted(crew[agent].served):
            if spans and start - spans[-1][1] <= GAP_S:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((max(0, start - LEAD_S), end + LEAD_S))
        if spans:
            found.append(Seat(agent=agent, types=tuple(sorted(crew[agent].types)), spans=tuple(spans)))
    return found


def seconds(text: str) -> int:
    """`h:mm:ss` or `hh:mm:ss` as seconds of the day; hours from 24 on are of the night after. Raises `ValueError`."""
    found = TIME.fullmatch(text)
    if found is None or int(found[1]) >= HOURS_MAX:
        raise ValueError(f"{text!r} is no time like 7:05:09")
    return int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])


def clock(at_s: int) -> str:
    """Seconds of the day as `h:mm:ss`."""
    return f"{at_s // 3600}:{at_s // 60 % 60:02d}:{at_s % 60:02d}"


def _wanted(day: str) -> date:
    if not DAY.fullmatch(day):
        raise Trouble(f"{day!r} is no day like 2026-01-05")
    try:
        return date.fromisoformat(day)
    except ValueError as why:
        raise Trouble(f"{day!r} is no day of the calendar") from why


@dataclass(slots=True)
class Crew:
    """What the file says of a server: every type that it took, and its services of the day, from and to."""

    types: set[str] = field(default_factory=set)
    served: list[tuple[int, int]] = field(default_factory=list)


class Row:
    """A line of the file. What is asked for and is not of the format is `Trouble` with line, field and reason."""

    def __init__(self, path: Path, number: int, fields: dict[str, str], types: dict[str, str]) -> None:
        self._where = f"{path}, line {number}"
        self._fields = fields
        self._types = types

    def refuse(self, name: str, reason: str) -> Trouble:
        """What is wrong with the field."""
        return Trouble(f"{self._where}: {name} {reason}; the format is in docs/call-log.md")

    def word(self, name: str) -> str:
        """A field that must say something, and can be printed."""
        text = self._fields[name]
        if not text or len(text) > WORD_MAX or not text.isprintable():
            raise self.refuse(name, f"must be 1 to {WORD_MAX} printable characters, not {text[:WORD_MAX]!r}")
        return text

    def type(self) -> str:
        """The kind of call, spelled as where it came first: `PS` and `ps` are one."""
        text = self.word("type")
        return self._types.setdefault(same_name(text), text)

    def one_of(self, name: str, *known: str) -> str:
        """A field with one of a few values."""
        text = self._fields[name]
        if text not in known:
            raise self.refuse(name, f"{text!r} is none of {', '.join(known)}")
        return text

    def time_s(self, name: str, *, after_s: int = 0) -> int:
        """A time of day. One that is half a day or more before what it follows is of the night after."""
        try:
            at_s = seconds(self._fields[name])
        except ValueError as why:
            raise self.refuse(name, str(why)) from why
        return at_s + DAY_S if after_s - at_s >= DAY_S // 2 else at_s

    def entry_s(self) -> int:
        """When the call reached the answering machine; 0 when the file does not say: only calls over midnight need it."""
        try:
            return seconds(self._fields["vru_entry"])
        except ValueError:
            return 0

    def number_s(self, name: str) -> int:
        """A duration in seconds, of a day at most."""
        text = self._fields[name]
        if not NUMBER.fullmatch(text) or int(text) > DAY_S:
            raise self.refuse(name, f"{text!r} is no number of seconds from 0 to {DAY_S}")
        return int(text)

    def date(self) -> date:
        """The day, whose leading zero a spreadsheet may have eaten."""
        try:
            return _date_of(self._fields["date"])
        except ValueError as why:
            raise self.refuse("date", f"{self._fields['date']!r} is no day like 260105 (yymmdd)") from why


@lru_cache(maxsize=1_000)
def _date_of(text: str) -> date:
    if not NUMBER.fullmatch(text) or not 5 <= len(text) <= 6:
        raise ValueError(text)
    padded = text.zfill(6)
    century = 1900 if int(padded[:2]) >= 69 else 2000
    return date(century + int(padded[:2]), int(padded[2:4]), int(padded[4:]))


def _rows(path: Path) -> Iterator[Row]:
    types: dict[str, str] = {}
    for number, fields in rows(path, COLUMNS, rows_max=CALLS_MAX, help_at="docs/call-log.md"):
        yield Row(path, number, fields, types)


def _noted(row: Row, crew: dict[str, Crew], wanted: date) -> Call | None:
    """The row's call, if it is one of the day that wanted an agent; its server is noted in the crew."""
    outcome = row.one_of("outcome", "AGENT", "HANG", "PHANTOM")
    if outcome == "AGENT":
        agent = id_of(row.word("server"))
        crew.setdefault(agent, Crew()).types.add(row.type())
    if row.date() != wanted:
        return None
    call = _call(row, outcome)
    if call is not None and outcome == "AGENT":
        start_s = row.time_s("ser_start", after_s=call.arrival_s)
        crew[agent].served.append((start_s, start_s + call.service_s))
    return call


def _call(row: Row, outcome: str) -> Call | None:
    """The call, or None when nobody wanted an agent: dropped, or hung up before the queue."""
    waited_s, queued = row.number_s("q_time"), row.time_s("q_start") + row.time_s("q_exit") > 0
    if outcome == "PHANTOM" or (outcome == "HANG" and not queued):
        return None
    answered = outcome == "AGENT"
    came_s = row.entry_s()
    return Call(
        call_id=row.word("call_id"),
        type=row.type(),
        priority=1 if row.one_of("priority", "0", "1", "2") == "2" else 0,
        arrival_s=row.time_s("q_start" if queued else "ser_start", after_s=came_s),
        wait_s=waited_s,
        patience_s=None if answered else waited_s,
        service_s=row.number_s("ser_time") if answered else 0,
        server=row.word("server") if answered else "",
    )


def _with_service(calls: list[Call]) -> Iterable[Call]:
    """Who hung up has no recorded service; should we be quicker, the mean of the day's type is what it takes."""
    sums: dict[str, list[int]] = {}
    for call in calls:
        if call.patience_s is None:
            sums.setdefault(call.type, []).append(call.service_s)
    for call in calls:
        if call.patience_s is None:
            yield call
            continue
        known = sums.get(call.type) or [180]
        yield Call(
            call_id=call.call_id,
            type=call.type,
            priority=call.priority,
            arrival_s=call.arrival_s,
            wait_s=call.wait_s,
            patience_s=call.patience_s,
            service_s=round(sum(known) / len(known)),
            server=call.server,
        )
