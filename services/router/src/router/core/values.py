"""What the core knows of queues, contacts and agents."""

from dataclasses import dataclass, field
from enum import StrEnum

DECLINES_REMEMBERED_MAX = 50
"""Declines that a contact remembers; the oldest is forgotten first."""


class ContactState(StrEnum):
    QUEUED = "queued"
    OFFERED = "offered"
    ASSIGNED = "assigned"
    LINK_LOST = "link_lost"
    WRAP_UP = "wrap_up"
    COMPLETED = "completed"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"


ENDED = frozenset({ContactState.COMPLETED, ContactState.ABANDONED, ContactState.CANCELLED})
HELD = frozenset({ContactState.ASSIGNED, ContactState.LINK_LOST, ContactState.WRAP_UP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue and its policy. `requirements`: pairs of skill and minimum level, sorted."""

    queue_id: str
    pool: str
    version: int
    requirements: tuple[tuple[str, int], ...]
    priority: int
    offer_timeout_ms: int
    wrap_up_ms: int
    link_grace_ms: int
    service_level_ms: int


@dataclass(slots=True, kw_only=True)
class Contact:
    """A live contact. Only the engine changes it, and only inside a step.

    `routing_age_at_ms` is kept on requeue; `due_ms` is when the present state runs out, if it does; `declined` maps an
    agent to the time until which that agent is not asked again.
    """

    contact_id: str
    queue_id: str
    pool: str
    channel: str
    priority: int
    requirements: tuple[tuple[str, int], ...]
    units: int
    accepted_at_ms: int
    routing_age_at_ms: int
    state: ContactState = ContactState.QUEUED
    attempt: int = 0
    agent_id: str = ""
    unit_numbers: tuple[int, ...] = ()
    due_ms: int | None = None
    accept_command: str = ""
    complete_command: str = ""
    declined: dict[str, int] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, int, str]:
        """The one documented key: priority (higher first), then routing age (older first), then the id."""
        return (-self.priority, self.routing_age_at_ms, self.contact_id)


@dataclass(slots=True, kw_only=True)
class Agent:
    """An agent as the router sees one. Only the engine changes it, and only inside a step.

    `routing_state` is `ready` when offers may be made; `idle_since_ms` is when the agent last had nothing to do with
    work: missed offers do not reset it. `used` maps a taken capacity unit to the contact that takes it.
    """

    agent_id: str
    pool: str
    session_no: int
    seq: int
    presence: str
    skills: tuple[tuple[str, int], ...]
    units: int
    routing_state: str
    idle_since_ms: int
    used: dict[int, str] = field(default_factory=dict)

    @property
    def free_units(self) -> int:
        """Units that a new contact could take; not below zero after capacity was cut."""
        return max(0, self.units - len(self.used))
