"""The state of one shard: contacts, agents, timers, and the indexes that make a match cheap.

Waiting contacts lie in groups (same queue, channel and need), agents in profiles (same traits). Sets of groups and of
profiles are whole numbers with one bit each, so that "who can serve this" is an `&`. Heaps are lazy: an entry counts only
while it still tells the truth, so a change never searches.
"""

from dataclasses import dataclass, field
from heapq import heappush
from itertools import islice
from typing import NamedTuple

from common.contracts.policies import Need
from router.core.model.agent import Agent
from router.core.model.contact import Contact
from router.core.model.decisions import Output
from router.core.model.queue import Queue
from router.core.rules.capacity import Demand
from router.core.rules.criteria import Traits
from router.core.rules.order import Entry

ENDED_REMEMBERED_MS = 300_000
ENDED_REMEMBERED_MAX = 100_000
"""Ended contacts that are remembered so that a repeated submission is ignored; older ones are looked up by the shell."""
FORGET_MASK = 127
"""Old ones are looked for once in so many ends (plus one), which is a power of two."""
FORGET_MAX = 10_000
"""So many old ones are forgotten at one go: memory shrinks after a peak, and no step takes longer than a millisecond."""
HEAP_SLACK = 4
"""A lazy heap with this many times more entries than true ones is built anew."""

GroupKey = tuple[str, str, Need]
"""Queue, channel, and what the contacts themselves ask of an agent at their present step; what the queue asks is not in it."""
IDLE, TURN, LOAD = 0, 1, 2
"""Orders in which agents of a profile are kept."""


@dataclass(slots=True)
class Group:
    """Waiting contacts that ask for the same. `need`: what an agent must be now to serve them: what the queue asks (or its
    lender, while it borrows), and what they ask themselves; `able`: profiles that meet it; `rate`: growth of the score a second;
    `levels`: how many wait at each level of the order.
    """

    no: int
    key: GroupKey
    need: Need
    demand: int
    rate: int
    able: int = 0
    heap: list[Entry] = field(default_factory=list)
    waiting: int = 0
    held_until_ms: int | None = None
    ranks: dict[int, int] = field(default_factory=dict)
    levels: dict[int, int] = field(default_factory=dict)

    @property
    def queue_id(self) -> str:
        return self.key[0]

    @property
    def own_need(self) -> Need:
        return self.key[2]


@dataclass(slots=True)
class Profile:
    """Agents who can do the same. `heaps`: by room and order, entries (order, agent id, turn of placing).

    `members`: all; `staffed`: those signed in; `placed`: those with room, by room.
    """

    no: int
    traits: Traits
    able: int = 0
    members: int = 0
    staffed: int = 0
    heaps: dict[tuple[int, int], list[tuple[int, str, int]]] = field(default_factory=dict)
    placed: dict[int, int] = field(default_factory=dict)


CrewClass = tuple[int, bool, int, tuple[tuple[str, int], ...]]
"""Agents who count alike: (1 where limits are not looked at, whether ready, units, channel limits)."""


@dataclass(slots=True)
class Handling:
    """What is known of how long contacts of a queue and channel take an agent: a moving mean, and a moving mean of the
    squared distance from it, over the mean's square.
    """

    count: int
    mean_ms: int
    spread: float = 1.0


@dataclass(slots=True)
class Lesson:
    """What waits that came true taught about estimates: see `queries.estimate`."""

    count: int = 0
    shift: float = 0.0
    spread: float = 1.25


class Told(NamedTuple):
    """What would have been told to a contact when it came; kept until it is answered."""

    queue_id: str
    channel: str
    at_ms: int
    p50_ms: int
    p90_ms: int


Slot = tuple[Profile, int, int, tuple[int, int, int]]
"""Where an available agent is found: profile, room (a bit a demand), turn of placing, its three orders."""


@dataclass(slots=True)
class State:
    """Everything the core knows. `touched_*` is what changed since the shell last took note of it.

    `ringing`: the timer that is being handled, for whoever wants to know what a failure was about; `set_aside`: timers that are
    passed over because they made a step fail again and again.
    `aged`: queues whose longest wait some policy asks for; `since`: for those, a lazy heap of (in the queue since, contact);
    `looks`: after how long in the queue a contact may let somebody begin or end to borrow; `busy_aware`: borrowers that ask
    whether all are busy.
    `asked`: by pool, the demands of its queues, a bit each; `denials`: agents for whom it has to be looked at the end of the step
    whether something else keeps them from all of these than was said last.
    `lowered`: the highest capacities that agents had since then and have no more.
    """

    now_ms: int = 0
    queues: dict[str, Queue] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    contacts: dict[str, Contact] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    timers: list[tuple[int, str, str]] = field(default_factory=list)
    ringing: tuple[str, str] | None = None
    set_aside: set[tuple[str, str]] = field(default_factory=set)

    demands: list[Demand] = field(default_factory=list)
    demand_no: dict[tuple[str, str], int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    denials: dict[str, str] = field(default_factory=dict)
    orders: set[int] = field(default_factory=lambda: {IDLE})
    is_plain: bool = True
    waiting_in: dict[str, int] = field(default_factory=dict)
    place_of: dict[str, tuple[Group, Entry]] = field(default_factory=dict)
    groups: dict[GroupKey, Group] = field(default_factory=dict)
    group_at: dict[int, Group] = field(default_factory=dict)
    group_numbers: list[int] = field(default_factory=list)
    waiting: int = 0

    profiles: dict[Traits, Profile] = field(default_factory=dict)
    profile_at: dict[int, Profile] = field(default_factory=dict)
    profile_numbers: list[int] = field(default_factory=list)
    profile_of: dict[str, Profile] = field(default_factory=dict)
    traits: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    staffed: int = 0
    slots: dict[str, Slot] = field(default_factory=dict)
    open: dict[int, int] = field(default_factory=dict)
    placings: int = 0
    turns: int = 0

    crews: dict[CrewClass, list[int]] = field(default_factory=dict)
    counted: dict[str, tuple[Profile, CrewClass]] = field(default_factory=dict)
    handlings: dict[tuple[str, str], Handling] = field(default_factory=dict)
    lessons: dict[tuple[str, str], Lesson] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    tell_next_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    judged_ms: dict[str, int] = field(default_factory=dict)
    to_judge: dict[str, None] = field(default_factory=dict)
    arrivals: dict[str, list[int]] = field(default_factory=dict)
    borrowing: set[str] = field(default_factory=set)
    borrowers: list[str] = field(default_factory=list)
    keeps_headroom: bool = False
    aged: set[str] = field(default_factory=set)
    looks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    busy_aware: tuple[str, ...] = ()
    since: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    calm: set[str] = field(default_factory=set)
    watched: set[str] = field(default_factory=set)
    dirty_queues: dict[str, None] = field(default_factory=dict)
    dirty_groups: dict[int, None] = field(default_factory=dict)
    dirty_agents: dict[str, None] = field(default_factory=dict)
    newcomer: Contact | None = None
    freed: Agent | None = None
    resuming: dict[str, None] = field(default_factory=dict)
    entered: dict[str, None] = field(default_factory=dict)
    to_score: dict[str, None] = field(default_factory=dict)
    said: list[Output] = field(default_factory=list)
    fresh: dict[str, None] = field(default_factory=dict)
    touched_contacts: dict[str, Contact] = field(default_factory=dict)
    touched_agents: dict[str, Agent] = field(default_factory=dict)
    lowered: dict[str, int] = field(default_factory=dict)


def next_due_ms(state: State) -> int | None:
    """When the core wants to be told of the time again."""
    return state.timers[0][0] if state.timers else None


def set_timer(state: State, due_ms: int, kind: str, name: str) -> None:
    """Look at a "contact", "agent" or "queue" at `due_ms`; one that has nothing due then is passed over."""
    heappush(state.timers, (due_ms, kind, name))


def remember_ended(state: State, contact_id: str, now_ms: int) -> None:
    """The contact is no longer live, but a repetition of it must still be known."""
    ended = state.ended
    ended[contact_id] = now_ms
    if len(ended) & FORGET_MASK:
        return
    too_many = len(ended) - ENDED_REMEMBERED_MAX
    old = []
    for number, (known, at_ms) in enumerate(islice(ended.items(), FORGET_MAX)):
        if number >= too_many and at_ms > now_ms - ENDED_REMEMBERED_MS:
            break
        old.append(known)
    for known in old:
        del ended[known]


def free_number(numbers: list[int], used: int) -> int:
    """The lowest number that a removed group or profile gave back, or the next new one."""
    return numbers.pop() if numbers else used
