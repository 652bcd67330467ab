"""What one replication counted."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Kind:
    """Contacts of one stream. `waits`: of the answered ones; `given_up`: of those who gave up; in units of time."""

    arrived: int = 0
    blocked: int = 0
    retried: int = 0
    waits: list[float] = field(default_factory=list)
    given_up: list[float] = field(default_factory=list)
    handled: float = 0.0


@dataclass(slots=True)
class Crew:
    """Agents of one kind. `busy`: time in which how many were busy, and its square; `by_agent`: busy time of each."""

    count: int
    area: float = 0.0
    area_squared: float = 0.0
    there: float = 0.0
    by_agent: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """One replication. `span`: measured time; `queue_area`: contacts that waited, summed over it."""

    kinds: dict[str, Kind]
    crews: dict[str, Crew]
    span: float = 0.0
    queue_area: float = 0.0
    lost_lines: int = 0
    decisions: int = 0
