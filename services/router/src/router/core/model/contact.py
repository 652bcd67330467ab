"""What the core knows of a contact, and of the offers that are made of it. Only the engine changes them, and only inside a step."""

from enum import StrEnum

import msgspec

from common.contracts.policies import Need, Step

DECLINES_REMEMBERED_MAX = 50
"""Declines that a contact remembers; the oldest is forgotten first."""
EXCEED, INTERRUPT, CUT = "exceed", "interrupt", "cut"
"""Why an attempt may take units beyond its agent's capacity: its queue may exceed it, or interrupts what the agent has in hand;
or the capacity was lowered while it had them."""


class ContactState(StrEnum):
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    OFFERED = "offered"
    ASSIGNED = "assigned"
    PAUSED = "paused"
    LINK_LOST = "link_lost"
    WRAP_UP = "wrap_up"
    COMPLETED = "completed"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    OVERFLOWED = "overflowed"

    __hash__ = str.__hash__  # an Enum's own goes through Python: states are looked up in every transition


ENDED = frozenset(
    {
        ContactState.COMPLETED,
        ContactState.ABANDONED,
        ContactState.CANCELLED,
        ContactState.EXPIRED,
        ContactState.OVERFLOWED,
    }
)
HELD = frozenset({ContactState.ASSIGNED, ContactState.PAUSED, ContactState.LINK_LOST, ContactState.WRAP_UP})


class Offer(msgspec.Struct, kw_only=True):
    """One agent may take the contact, or has it. `unit_numbers` are the agent's capacity units that it takes; `over` says why
    they may go beyond its capacity, and is empty where they may not.
    """

    attempt: int
    agent_id: str
    unit_numbers: tuple[int, ...]
    expires_ms: int | None = None
    over: str = ""


class Contact(msgspec.Struct, kw_only=True):
    """A live contact.

    `routing_age_at_ms` is kept on requeue and transfer; `queued_at_ms` is when it came to this queue; `units` is what it
    takes, or will take; `steps` is its plan of timed needs and `step` where it is in it; `queue_version` is the version of
    the queue under which the plan was made (0: not known); `offers` are out, `holding` was accepted; `due_ms` is when the present
    state runs out, if it does; `declined` maps an agent to the time until which that agent is not asked again,
    and `aside` says why where it was not a decline;
    `transfers` are those of agents, `moves` those of queues that overflow; `promise` is "due" for one that was accepted for
    a later time, "callback" when a call was promised; `callback_asked_ms` is when the customer last asked for one.
    """

    contact_id: str
    queue_id: str
    pool: str
    channel: str
    priority: int
    need: Need
    units: int
    accepted_at_ms: int
    routing_age_at_ms: int
    queued_at_ms: int
    state: ContactState = ContactState.QUEUED
    attempt: int = 0
    offers: list[Offer] = []
    holding: Offer | None = None
    due_ms: int | None = None
    accept_command: str = ""
    complete_command: str = ""
    answered_at_ms: int = 0
    declined: dict[str, int] = {}
    aside: dict[str, str] = {}
    steps: tuple[Step, ...] = ()
    step: int = 0
    step_ends_ms: int | None = None
    escalated: int = 0
    transfers: int = 0
    moves: int = 0
    promise: str = ""
    callback_asked_ms: int = 0
    customer: str = ""
    last_agent: str = ""
    account_team: str = ""
    named_agent: str = ""
    correlation: str = ""
    awaits_response: bool = False
    resume_command: str = ""
    scores: dict[str, int] | None = None
    scores_due_ms: int | None = None
    queue_version: int = 0

    @property
    def is_newcomer(self) -> bool:
        """Whether nobody served it yet or promised anything: only then may rules for those who come turn it away."""
        return not self.promise and not self.answered_at_ms

    @property
    def may_expire(self) -> bool:
        """Whether it has a time to live: one that was served, or is to be called back, is never given up."""
        return self.promise != "callback" and not self.answered_at_ms

    @property
    def agent_id(self) -> str:
        """Who holds it; while offers are out, who was asked last; else nobody."""
        if self.holding is not None:
            return self.holding.agent_id
        return self.offers[-1].agent_id if self.offers else ""
