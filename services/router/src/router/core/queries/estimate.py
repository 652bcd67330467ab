"""How long a contact will wait: how much work is before it, for how much capacity, and what earlier estimates were worth.

**Model.** The agents who are ready and can serve the contact can have `s` contacts of its kind at a time (their capacity units, not
their number). With mean handle time `h` a place comes free every `h / s` on the average. Who is before it takes places too:
a contact of another group that competes for some of the same agents counts by the share of its own agents that they are, and
by how much longer it takes. The sum `k`, its own turn included, gives a mean wait of `k h / s`, Gamma distributed with
shape `k / v`: `v` is 1 for exponential handle times and for many agents, and what was learned of the spread for one agent.
Quantiles by Wilson and Hilferty (1931): k(1 - 1/(9k) + z/(3 sqrt k))^3. Whoever finds free capacity does not wait.

**Correction.** Who comes later and goes first, breaks, hours, impatience and answers that take their time are in no such formula.
So two numbers by queue and channel are learned from waits that came true: `shift` moves the median, `spread` scales the
distance of the 90th percentile from it. Each answered contact moves them a little: up when its wait was longer than it was told,
down when it was not, in such a proportion that they rest where half, and nine of ten, are within (the Robbins-Monro quantile;
"adaptive conformal inference", Gibbs and Candes 2021, shows that the share within comes to its aim whatever the model). Steps are
the smaller, the more contacts wait: what those will teach is not known yet.
"""

from dataclasses import dataclass
from heapq import heappop
from math import exp, log

from router.core.index.agents import able_profiles
from router.core.index.crews import capacity_of
from router.core.index.state import Group, Handling, Lesson, State, Told
from router.core.index.waiting import is_true, queue_need, rank_now
from router.core.model.contact import Contact, ContactState
from router.core.model.queue import Queue
from router.core.rules.capacity import demand_of
from router.core.rules.criteria import both
from router.core.rules.order import entry_of, rate_of

HANDLE_DEFAULT_MS = 180_000
"""Mean handle time of a queue and channel of which nobody has seen a contact yet."""
HANDLE_MEMORY = 64
"""One contact moves the mean handle time by this part of the difference, once so many were seen."""
SPREAD_FROM = 5
"""So many handle times are seen before their spread is believed."""
SPREAD_MAX = 9.0
VARIATION_MIN = 0.02
Z90 = 1.2815515655446004
SHAPE_MIN = 0.4
"""Wilson and Hilferty's formula is good from there on."""
GROUPS_MAX = 1_000
"""Groups whose share in the agents is worked out for one estimate; of the rest only the number of contacts counts."""
COUNTED_MAX = 1_000
"""Contacts of a contact's own group that are looked at one by one to find its place."""
GLANCED_MAX = 16
"""Contacts of another group that are; in a larger one the place is worked out from the age of its first contact."""
TOLD_MAX = 2_000
"""Estimates that wait for their contact's answer; the oldest is forgotten first."""
TELL_EVERY_MS = 100
"""At most so often a contact of a queue and channel is noted to learn from."""
LESSON_MIN = 20
"""Until a queue and channel has taught so often, it begins with what its channel has taught everywhere."""
STEP, STEP_AFTER, STEP_MIN_AFTER = 2.0, 4, 20
SHIFT_MAX = 5.0
SPREADS = (0.05, 6.0)
LAST = "~"
"""Comes after every id."""
UNCERTAIN = 0.1
"""However many are before a contact, the logarithm of the wait is uncertain by as much."""

Rank = tuple[int, int, str]
"""(level, rest, id): what compares contacts at this moment, the smallest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """`position` counts from 1 among contacts that compete for the same agents; where nobody is signed in who could serve the
    contact, in its queue. Then there are no times, and `reason` says why: `unstaffed`; or `no_capacity`, when none of the
    `agents` who are there could ever hold it.
    """

    position: int
    agents: int
    p50_ms: int | None
    p90_ms: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """What one contact waits among. `turns`: turns before its own in places that come free every `turn_ms`."""

    before: int
    turns: float
    turn_ms: float
    servers: int
    agents: int


def estimate(state: State, contact: Contact, place: int | None = None) -> Estimate:
    """Position and wait from now on of a contact that waits. `place`: how many of its own group are before it, where known."""
    assert contact.state is ContactState.QUEUED, contact
    own, entry = state.place_of[contact.contact_id]
    level, rest, _, name = rank_now(state, own, entry, state.now_ms)
    if place is None:
        place = place_in(state, own, (level, rest, name), COUNTED_MAX)
    queue = state.queues[contact.queue_id]
    return _estimate(state, queue, contact.channel, own.able, (level, rest, name), {own.no: place})


def estimate_newest(state: State, group: Group) -> Estimate:
    """What the last contact of a group would be told, if it came just now."""
    queue_id, channel, _ = group.key
    last = max((level for level, number in group.levels.items() if number), default=0)
    rank = (last, 0, LAST)
    return _estimate(state, state.queues[queue_id], channel, group.able, rank, {group.no: group.waiting - 1})


def foresee(state: State, contact: Contact, queue: Queue) -> None:
    """Note what the contact, which comes now and waits nowhere yet, would be told: its wait will teach."""
    key = (queue.queue_id, contact.channel)
    if state.now_ms < state.tell_next_ms.get(key, 0):
        return
    state.tell_next_ms[key] = state.now_ms + TELL_EVERY_MS
    group = state.groups.get((*key, contact.need))
    able = (
        group.able
        if group is not None
        else able_profiles(state, both(queue_need(state, queue), contact.need), queue.pool)
    )
    if _is_free(state, queue, contact.channel, able):
        return  # it has an offer at once
    level, rest, _, name = entry_of(queue, contact)
    rank = (level, rest - rate_of(queue) * state.now_ms, name)
    found = _estimate(state, queue, contact.channel, able, rank, {})
    if found.p50_ms is None or found.p90_ms is None:
        return
    state.told[contact.contact_id] = Told(*key, state.now_ms, max(1, found.p50_ms), max(1, found.p90_ms))
    if len(state.told) > TOLD_MAX:
        del state.told[next(iter(state.told))]


def learn_wait(state: State, contact: Contact) -> None:
    """The contact is answered: what it would have been told was right, or not."""
    told = state.told.pop(contact.contact_id, None)
    if told is None:
        return
    waited_ms = state.now_ms - told.at_ms
    for key in ((told.queue_id, told.channel), ("", told.channel)):
        lesson = state.lessons.get(key)
        if lesson is None:
            lesson = state.lessons[key] = _first_lesson(state, told.channel)
        lesson.count += 1
        open_ones = state.waiting_in.get(told.queue_id, 0)
        step = STEP / (STEP_AFTER + min(lesson.count, STEP_MIN_AFTER) + open_ones)
        longer = waited_ms > told.p50_ms
        lesson.shift = _within(lesson.shift + (step if longer else -step), -SHIFT_MAX, SHIFT_MAX)
        much_longer = waited_ms > told.p90_ms
        lesson.spread = _within(lesson.spread + step * (1.8 if much_longer else -0.2), *SPREADS)


def learn_handling(state: State, contact: Contact) -> None:
    """An agent is done with the contact: so long the next ones of the queue and channel will take, wrap-up included."""
    took_ms = state.now_ms - contact.answered_at_ms
    key = (contact.queue_id, contact.channel)
    known = state.handlings.get(key)
    if known is None:
        state.handlings[key] = Handling(count=1, mean_ms=took_ms)
        return
    count = known.count = known.count + 1
    part = count if count < HANDLE_MEMORY else HANDLE_MEMORY
    mean_ms = known.mean_ms
    longer_ms = took_ms - mean_ms
    if mean_ms > 0:
        off = longer_ms / mean_ms
        if off > SPREAD_MAX:
            off = SPREAD_MAX
        known.spread += (off * off - known.spread) / part
    known.mean_ms = mean_ms + longer_ms // part


def handling_of(state: State, queue: Queue, channel: str) -> Handling:
    """The learned handle time; until there is one, what the queue's policy expects."""
    known = state.handlings.get((queue.queue_id, channel))
    return known or Handling(count=0, mean_ms=queue.policy.home.expected_handle_ms or HANDLE_DEFAULT_MS)


def place_in(state: State, group: Group, rank: Rank, counted_max: int) -> int:
    """How many of the group are before who has this rank now: counted, or in a large group worked out from ages."""
    heap, now_ms = group.heap, state.now_ms
    while heap and not is_true(state, group, heap[0]):
        heappop(heap)
    if not heap:
        return 0
    if group.waiting <= counted_max:
        found = set()
        for entry in heap:
            if (entry[0], entry[1] - group.rate * now_ms, entry[3]) < rank and is_true(state, group, entry):
                found.add(entry[3])
        return len(found)
    level, rest, _ = rank
    same, before = 0, 0
    for other, number in group.levels.items():
        if other < level:
            before += number
        elif other == level:
            same = number
    first = heap[0]
    oldest = first[1] - group.rate * now_ms
    newest = oldest + group.rate * (now_ms - first[2])
    if first[0] != level or newest == oldest:
        return before + (same if rest >= newest else 0)
    share = min(1.0, max(0.0, (rest - oldest) / (newest - oldest)))
    return before + int(same * share)


def _estimate(state: State, queue: Queue, channel: str, able: int, rank: Rank, before: dict[int, int]) -> Estimate:
    demand = demand_of(queue, channel)
    agents, servers = capacity_of(state, able, demand)
    if servers == 0:
        position = 1 + sum(
            before[group.no] if group.no in before else place_in(state, group, rank, GLANCED_MAX)
            for group in _first_groups(state, -1)
            if group.queue_id == queue.queue_id
        )
        reason = "no_capacity" if agents else "unstaffed"
        return Estimate(position=position, agents=agents, p50_ms=None, p90_ms=None, reason=reason)
    handling = handling_of(state, queue, channel)
    field = _field(state, able, rank, before, handling, (agents, servers))
    p50_ms, p90_ms = _quantiles(field, handling, lesson_of(state, queue.queue_id, channel))
    return Estimate(position=field.before + 1, agents=agents, p50_ms=p50_ms, p90_ms=p90_ms)


def _field(
    state: State,
    able: int,
    rank: Rank,
    before: dict[int, int],
    handling: Handling,
    crew: tuple[int, int],
) -> Field:
    """Who is before, and what that is in turns of the contact's own places."""
    agents, servers = crew
    turn_ms = max(handling.mean_ms, 1) / servers
    number, turns, seen = 0, 0.0, 0
    for group in _first_groups(state, able):
        seen += group.waiting
        first = before[group.no] if group.no in before else place_in(state, group, rank, GLANCED_MAX)
        if first == 0:
            continue
        number += first
        demand = state.demands[group.demand]
        other_servers = capacity_of(state, group.able & able, demand)[1]
        everywhere = other_servers if group.able == able else capacity_of(state, group.able, demand)[1]
        share = other_servers / everywhere if everywhere else 0.0
        if other_servers:
            other = handling_of(state, state.queues[group.queue_id], group.key[1])
            turns += first * share * (other.mean_ms / other_servers) / turn_ms
    return Field(before=number, turns=turns, turn_ms=turn_ms, servers=servers, agents=agents)


def _first_groups(state: State, able: int) -> list[Group]:
    """Groups with somebody waiting that compete for one of the profiles (-1: all), by number, at most `GROUPS_MAX`."""
    found: list[Group] = []
    left = state.waiting
    while left and len(found) < GROUPS_MAX:
        low = left & -left
        left ^= low
        group = state.group_at[low.bit_length() - 1]
        if able == -1 or group.able & able:
            found.append(group)
    return found


def _is_free(state: State, queue: Queue, channel: str, able: int) -> bool:
    """Whether somebody able has room now; of a kind that never came before nobody knows, and it is taken for granted."""
    demand = state.demand_no.get((queue.queue_id, channel))
    return demand is None or any(room >> demand & 1 and profiles & able for room, profiles in state.open.items())


def _quantiles(field: Field, handling: Handling, lesson: Lesson) -> tuple[int, int]:
    k = field.turns + 1.0
    spread = handling.spread if handling.count >= SPREAD_FROM else 1.0
    variation = max(VARIATION_MIN, 1.0 + (spread - 1.0) / field.servers)
    shape = max(SHAPE_MIN, k / variation)
    mean_ms = k * field.turn_ms
    middle = max(0.01, 1.0 - 1.0 / (9.0 * shape)) ** 3
    high = (1.0 - 1.0 / (9.0 * shape) + Z90 / (3.0 * shape**0.5)) ** 3
    distance = log(high / middle)
    if lesson.count:
        distance = lesson.spread * (distance * distance + UNCERTAIN * UNCERTAIN) ** 0.5
    p50_ms = mean_ms * middle * exp(lesson.shift)
    return int(p50_ms), int(p50_ms * exp(distance))


def lesson_of(state: State, queue_id: str, channel: str) -> Lesson:
    """What corrects estimates of the queue and channel."""
    known = state.lessons.get((queue_id, channel))
    if known is not None and known.count >= LESSON_MIN:
        return known
    return state.lessons.get(("", channel)) or known or Lesson()


def _first_lesson(state: State, channel: str) -> Lesson:
    known = state.lessons.get(("", channel))
    return Lesson() if known is None else Lesson(shift=known.shift, spread=known.spread)


def _within(value: float, low: float, high: float) -> float:
    return min(high, max(low, value))
