"""A call centre's log, one line a call: the format that `porchlight replay` plays and `porchlight demo-day` writes.

Tab separated, one header line, 17 columns (see docs/call-log.md): `vru+line call_id customer_id priority type date
vru_entry vru_exit vru_time q_start q_exit q_time outcome ser_start ser_exit ser_time server`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from porchlight.home import Trouble

COLUMNS = [
    *("vru+line", "call_id", "customer_id", "priority", "type", "date", "vru_entry", "vru_exit", "vru_time"),
    *("q_start", "q_exit", "q_time", "outcome", "ser_start", "ser_exit", "ser_time", "server"),
]
CALLS_MAX = 1_000_000
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
    """When an agent was at work, as far as the services tell: from each to the next, unless there is a long gap between."""

    agent: str
    types: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """When an agent is there and which types it takes. Seconds of the day."""

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
    """The calls of `day` (YYYY-MM-DD). `Trouble` names the line that is not of the format."""
    wanted = day.replace("-", "")[2:]
    calls: list[Call] = []
    served: dict[str, set[str]] = {}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for number, row in _rows(path):
        try:
            if row["outcome"] == "AGENT":
                served.setdefault(row["server"], set()).add(row["type"])
            if row["date"] != wanted:
                continue
            call = _call(row)
            if call is None:
                continue
            calls.append(call)
            if row["outcome"] == "AGENT":
                start = seconds(row["ser_start"])
                first[call.server] = min(first.get(call.server, start), start)
                last[call.server] = max(last.get(call.server, 0), start + call.service_s)
        except (KeyError, ValueError) as why:
            raise Trouble(f"{path}, line {number}: {why}; the format is in docs/call-log.md") from why
    if not calls:
        raise Trouble(f"{path} has no call of {day}")
    return Day(
        calls=tuple(_with_service(sorted(calls, key=lambda c: (c.arrival_s, c.call_id)))),
        shifts=tuple(
            Shift(
                agent=server.lower(),
                types=tuple(sorted(served[server])),
                start_s=first[server] - SHIFT_MARGIN_S,
                end_s=last[server] + SHIFT_MARGIN_S,
            )
            for server in sorted(first)
        ),
    )


def seats(path: Path, day: str) -> list[Seat]:
    """The crew of `day`, with the breaks that show in what they served: a gap longer than `GAP_S` is one."""
    wanted = day.replace("-", "")[2:]
    types: dict[str, set[str]] = {}
    served: dict[str, list[tuple[int, int]]] = {}
    for _, row in _rows(path):
        if row["outcome"] != "AGENT":
            continue
        types.setdefault(row["server"], set()).add(row["type"])
        if row["date"] == wanted:
            start = seconds(row["ser_start"])
            served.setdefault(row["server"], []).append((start, start + int(row["ser_time"])))
    found = []
    for server in sorted(set(served) - {"NO_SERVER"}):
        spans: list[tuple[int, int]] = []
        for start, end in sorted(served[server]):
            if spans and start - spans[-1][1] <= GAP_S:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((max(0, start - LEAD_S), end + LEAD_S))
        found.append(Seat(agent=server.lower(), types=tuple(sorted(types[server])), spans=tuple(spans)))
    return found


def seconds(text: str) -> int:
    """`h:mm:ss` as seconds of the day."""
    hours, minutes, rest = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(rest)


def clock(at_s: int) -> str:
    """Seconds of the day as `h:mm:ss`."""
    return f"{at_s // 3600}:{at_s // 60 % 60:02d}:{at_s % 60:02d}"


def _rows(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as why:
        raise Trouble(f"cannot read {path}: {why}") from why
    if not lines or lines[0].split("\t") != COLUMNS:
        raise Trouble(f"{path}, line 1 does not name the 17 columns; the format is in docs/call-log.md")
    if len(lines) > CALLS_MAX:
        raise Trouble(f"{path} has more than {CALLS_MAX} lines: split it by month")
    for number, line in enumerate(lines[1:], start=2):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != len(COLUMNS):
            raise Trouble(f"{path}, line {number} has {len(fields)} fields, not {len(COLUMNS)}")
        yield number, dict(zip(COLUMNS, fields, strict=True))


def _call(row: dict[str, str]) -> Call | None:
    """The call, or None when nobody wanted an agent: dropped, or hung up before the queue."""
    waited_s, queued = int(row["q_time"]), row["q_start"] != "0:00:00"
    if row["outcome"] == "PHANTOM" or (row["outcome"] == "HANG" and not queued):
        return None
    if row["outcome"] not in ("AGENT", "HANG"):
        raise ValueError(f"outcome {row['outcome']!r} is none of AGENT, HANG, PHANTOM")
    answered = row["outcome"] == "AGENT"
    return Call(
        call_id=row["call_id"],
        type=row["type"],
        priority=1 if row["priority"] == "2" else 0,
        arrival_s=seconds(row["q_start"] if queued else row["ser_start"]),
        wait_s=waited_s,
        patience_s=None if answered else waited_s,
        service_s=int(row["ser_time"]) if answered else 0,
        server=row["server"],
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
