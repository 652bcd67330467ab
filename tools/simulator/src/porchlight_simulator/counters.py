"""What one replication counted."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Kind:
    """Contacts of one stream. `waits`: of the answered ones; `given_up`: of those who gave up; in units of time.
    `drawn`: handle times of all that arrived, `handled`: of the answered ones.
    """

    arrived: int = 0
    blocked: int = 0
    retried: int = 0
    waits: list[float] = field(default_factory=list)
    given_up: list[float] = field(default_factory=list)
    handled: float = 0.0
    drawn: float = 0.0


@dataclass(slots=True)
class Crew:
    """Agents of one kind, in ticks. `area`: how many were busy, summed over time; `area_squared`: the square of it;
    `by_agent`: busy time of each. `busy` and `since`: how many are, since when.
    """

    count: int
    by_agent: list[int]
    area: int = 0
    area_squared: int = 0
    busy: int = 0
    since: int = 0


@dataclass(slots=True)
class Tally:
    """One replication. `span`: measured time in units, of `ticks` each."""

    kinds: dict[str, Kind]
    crews: dict[str, Crew]
    ticks: int
    span: float = 0.0
    lost_lines: int = 0
