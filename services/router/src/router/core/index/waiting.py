"""Waiting contacts: groups, their order, and the demands that they make."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from common.contracts.policies import Need
from router.core.index.agents import able_profiles, name_agents, place_everybody
from router.core.index.state import HEAP_SLACK, Group, GroupKey, State, free_number, set_timer
from router.core.model.contact import Contact
from router.core.model.queue import Queue
from router.core.rules.capacity import demand_of
from router.core.rules.criteria import both, either
from router.core.rules.order import Entry, entry_of, rate_of

FEW = 8
"""Entries are few beside a heap that is longer than so many times their number."""
LINKED_TOGETHER = 256
"""New groups that are linked at a time."""
EMPTY_GROUPS_MAX = 256
"""Groups without a waiting contact that are kept for the next one like it; beyond it all of them go."""


def put_waiting(state: State, contact: Contact) -> None:
    """The contact is in state queued: let agents find it."""
    group = group_for(state, contact)
    heap = group.heap
    if len(heap) > HEAP_SLACK * (group.waiting + 16):
        heap[:] = sorted({entry for entry in heap if is_true(state, group, entry)})
    entry = entry_of(state.queues[contact.queue_id], contact)
    heappush(heap, entry)
    if group.waiting == 0:
        state.waiting |= 1 << group.no
    group.waiting += 1
    level = entry[0]
    group.levels[level] = group.levels.get(level, 0) + 1
    state.waiting_in[contact.queue_id] = state.waiting_in.get(contact.queue_id, 0) + 1
    state.place_of[contact.contact_id] = (group, entry)
    state.dirty_groups[group.no] = None
    if contact.queue_id in state.aged:
        _note_since(state, contact)
    if state.watched:
        state.dirty_queues[contact.queue_id] = None


def put_all_waiting(state: State, contacts: Iterable[Contact]) -> None:
    """The same for many at a time: each heap takes what is new together, and new groups are linked together."""
    fresh: dict[int, tuple[Group, list[Entry]]] = {}
    unlinked: list[Group] = []
    for contact in contacts:
        group = group_for(state, contact, unlinked)
        if group.waiting == 0:
            state.waiting |= 1 << group.no
        entry = entry_of(state.queues[contact.queue_id], contact)
        fresh.setdefault(group.no, (group, []))[1].append(entry)
        group.waiting += 1
        group.levels[entry[0]] = group.levels.get(entry[0], 0) + 1
        state.waiting_in[contact.queue_id] = state.waiting_in.get(contact.queue_id, 0) + 1
        state.place_of[contact.contact_id] = (group, entry)
        if contact.queue_id in state.aged:
            _note_since(state, contact)
    _link_together(state, unlinked)
    for group, entries in fresh.values():
        _merge(group.heap, entries)
        state.dirty_groups[group.no] = None
        if state.watched:
            state.dirty_queues[group.queue_id] = None


def _merge(heap: list[Entry], entries: list[Entry]) -> None:
    """Ordering the whole heap costs its length, so a few entries are put into a long one each by itself."""
    if len(entries) * FEW < len(heap):
        for entry in entries:
            heappush(heap, entry)
    else:
        heap.extend(entries)
        heapify(heap)


def _note_since(state: State, contact: Contact) -> None:
    heap = state.since.setdefault(contact.queue_id, [])
    if len(heap) > HEAP_SLACK * (state.waiting_in[contact.queue_id] + 16):
        heap[:] = sorted({one for one in heap if _has_waited_since(state, contact.queue_id, one)})
    heappush(heap, (contact.queued_at_ms, contact.contact_id))
    _look_later(state, contact)


def _look_later(state: State, contact: Contact) -> None:
    """Look at the queue when the contact has waited as long as somebody's borrowing asks for; what is past is judged now."""
    for after_ms in state.looks.get(contact.queue_id, ()):
        due_ms = contact.queued_at_ms + after_ms + 1
        if due_ms > state.now_ms:
            wake_at(state, contact, due_ms)


def _has_waited_since(state: State, queue_id: str, entry: tuple[int, str]) -> bool:
    place = state.place_of.get(entry[1])
    return place is not None and place[0].queue_id == queue_id and state.contacts[entry[1]].queued_at_ms == entry[0]


def longest_wait_ms(state: State, queue_id: str) -> int:
    """How long the contact that has been in the queue longest has been there. For queues that are `aged`."""
    heap = state.since.get(queue_id)
    while heap:
        if _has_waited_since(state, queue_id, heap[0]):
            return state.now_ms - heap[0][0]
        heappop(heap)
    return 0


def age_queues(state: State, looks: dict[str, tuple[int, ...]]) -> None:
    """From now on these queues' longest waits are asked for, some of them at these times in the queue."""
    aged = set(looks)
    changed = {queue_id for queue_id, times in looks.items() if times and times != state.looks.get(queue_id)}
    state.looks = looks
    state.since = {queue_id: state.since.get(queue_id, []) for queue_id in aged}
    fresh, state.aged = aged - state.aged, aged
    for contact_id, (group, _) in state.place_of.items() if fresh else ():
        if group.queue_id in fresh:
            heappush(state.since[group.queue_id], (state.contacts[contact_id].queued_at_ms, contact_id))
    for contact_id, (group, _) in state.place_of.items() if changed else ():
        if group.queue_id in changed:
            _look_later(state, state.contacts[contact_id])


def take_all_waiting(state: State, queue_id: str) -> list[Contact]:
    """All that wait in the queue, in no order; they wait nowhere any more."""
    taken: list[Contact] = []
    for group in state.groups.values():
        if group.queue_id == queue_id and group.waiting:
            ids = list(dict.fromkeys(entry[3] for entry in group.heap if is_true(state, group, entry)))
            taken.extend(state.contacts[contact_id] for contact_id in ids)
            for contact_id in ids:
                del state.place_of[contact_id]
            group.heap.clear()
            group.levels.clear()
            group.waiting = 0
            state.waiting &= ~(1 << group.no)
            state.dirty_groups.pop(group.no, None)
    state.waiting_in[queue_id] = 0
    return taken


def take_waiting(state: State, contact: Contact) -> None:
    """The contact does not wait any more; its heap entry dies by itself."""
    group, entry = state.place_of.pop(contact.contact_id)
    group.waiting -= 1
    group.levels[entry[0]] -= 1
    if group.waiting == 0:
        group.levels.clear()
        state.waiting &= ~(1 << group.no)
        state.dirty_groups.pop(group.no, None)
    state.waiting_in[group.queue_id] -= 1
    if state.watched:
        state.dirty_queues[group.queue_id] = None


def is_true(state: State, group: Group, entry: Entry) -> bool:
    """Whether a heap entry still says where its contact waits. Who came back has two entries that are alike and both true."""
    place = state.place_of.get(entry[3])
    return place is not None and place[0] is group and place[1] == entry


def head(state: State, group: Group, *, agent_id: str) -> Contact | None:
    """The first contact of the group that the agent has not declined lately, and that waits for no scores."""
    heap = group.heap
    aside: list[Entry] = []
    found: Contact | None = None
    while heap:
        entry = heap[0]
        place = state.place_of.get(entry[3])
        if place is None or place[0] is not group or place[1] != entry:
            heappop(heap)
            continue
        contact = state.contacts[entry[3]]
        if contact.scores_due_ms is None and (not contact.declined or agent_id not in contact.declined):
            found = contact
            break
        aside.append(heappop(heap))
    for entry in aside:
        heappush(heap, entry)
    return found


def score_now(state: State, contact: Contact, now_ms: int) -> int:
    """The contact's score in thousandths of a point, as `Order` defines it."""
    queue = state.queues[contact.queue_id]
    if queue.policy.order.method == "ratio":
        return excess(state, queue)
    return rate_of(queue) * now_ms - entry_of(queue, contact)[1]


def excess(state: State, queue: Queue) -> int:
    """How far the queue is above its share of what waits, in thousandths of a contact (times ten)."""
    total = sum(
        state.waiting_in.get(other.queue_id, 0)
        for other in state.queues.values()
        if other.pool == queue.pool and other.policy.order.method == "ratio"
    )
    return state.waiting_in.get(queue.queue_id, 0) * 1_000 - queue.policy.order.share_percent * 10 * total


def rank_now(state: State, group: Group, entry: Entry, now_ms: int) -> tuple[int, int, int, str]:
    """What compares contacts of any two groups at this moment; the smallest goes first."""
    queue = state.queues[group.queue_id]
    if queue.policy.order.method == "ratio":
        return (entry[0], -excess(state, queue), entry[2], entry[3])
    return (entry[0], entry[1] - group.rate * now_ms, entry[2], entry[3])


def group_for(state: State, contact: Contact, unlinked: list[Group] | None = None) -> Group:
    """The group in which the contact waits, made when there is none yet. With `unlinked` the caller links new ones."""
    key = (contact.queue_id, contact.channel, own_need(contact) if contact.steps else contact.need)
    group = state.groups.get(key)
    if group is None:
        group = _new_group(state, key)
        if unlinked is None:
            _link_group(state, group)
        else:
            unlinked.append(group)
    return group


def own_need(contact: Contact) -> Need:
    """What the contact itself asks of an agent at its present step, whatever its queue asks: its need and the step's."""
    if contact.step < len(contact.steps):
        return both(contact.need, contact.steps[contact.step].need)
    return contact.need


def queue_need(state: State, queue: Queue) -> Need:
    """What the queue asks of an agent now: its need, or its lender's instead while it borrows."""
    return borrowing_need(state, queue) if queue.queue_id in state.borrowing else queue.need


def borrowing_need(state: State, queue: Queue) -> Need:
    """What the queue asks of an agent whenever it borrows; its need where it never does."""
    borrow = queue.policy.borrow
    if borrow is None or borrow.lender not in state.queues:
        return queue.need
    return either(queue.need, state.queues[borrow.lender].need)


def need_now(state: State, contact: Contact) -> Need:
    """What an agent must be now to serve the contact: what its queue asks, and what it asks itself. Borrowing opens the queue
    to others; it never sets aside what the contact or its step asks.
    """
    return both(queue_need(state, state.queues[contact.queue_id]), own_need(contact))


def _new_group(state: State, key: GroupKey) -> Group:
    if len(state.groups) > 2 * state.waiting.bit_count() + EMPTY_GROUPS_MAX:
        for other in [one for one in state.groups.values() if one.waiting == 0]:
            _drop_group(state, other)
    queue = state.queues[key[0]]
    group = Group(
        no=free_number(state.group_numbers, len(state.groups)),
        key=key,
        need=both(queue_need(state, queue), key[2]),
        demand=demand_number(state, queue, key[1]),
        rate=rate_of(queue),
    )
    state.groups[key] = group
    state.group_at[group.no] = group
    return group


def _link_together(state: State, groups: list[Group]) -> None:
    """Link new groups, which have consecutive numbers as nearly always, with all profiles: the table of who may serve whom
    is turned as a whole, because one bit after the other would take the product of groups and profiles.
    """
    for group in groups:
        name_agents(state, group.need)  # first of all: it may make profiles
    groups.sort(key=lambda one: -one.no)
    for start in range(0, len(groups), LINKED_TOGETHER):
        some = groups[start : start + LINKED_TOGETHER]
        if some[0].no - some[-1].no != len(some) - 1:
            for group in some:
                _link_group(state, group)
            continue
        for group in some:
            group.able = able_profiles(state, group.need, state.queues[group.queue_id].pool)
        width = max(group.able.bit_length() for group in some)
        rows = [f"{group.able:0{width}b}" if width else "" for group in some]
        for place, column in enumerate(zip(*rows, strict=True)):
            bits = int("".join(column), 2)
            if bits:
                state.profile_at[width - 1 - place].able |= bits << some[-1].no


def relink_groups(state: State, queue_id: str) -> list[Group]:
    """What the queue asks changed: work out anew who may serve each of its groups, which are returned."""
    asked = queue_need(state, state.queues[queue_id])
    groups = [group for group in state.groups.values() if group.queue_id == queue_id]
    for group in groups:
        group.need = both(asked, group.own_need)
        _link_group(state, group)
        state.dirty_groups[group.no] = None
    return groups


def _link_group(state: State, group: Group) -> None:
    """Work out which profiles may serve the group."""
    name_agents(state, group.need)
    before, group.able = group.able, able_profiles(state, group.need, state.queues[group.queue_id].pool)
    changed = before ^ group.able
    bit = 1 << group.no
    while changed:
        low = changed & -changed
        changed ^= low
        state.profile_at[low.bit_length() - 1].able ^= bit
    group.ranks.clear()


def demand_number(state: State, queue: Queue, channel: str) -> int:
    """The number of the demand of the queue's contacts of this channel; a new one lets every agent be placed anew."""
    known = state.demand_no.get((queue.queue_id, channel))
    if known is not None:
        return known
    demand = demand_of(queue, channel)
    is_new = demand not in state.demands
    if is_new:
        state.demands.append(demand)
    number = state.demands.index(demand)
    state.demand_no[queue.queue_id, channel] = number
    asked = state.asked.get(queue.pool, 0)
    state.asked[queue.pool] = asked | 1 << number
    if is_new or state.asked[queue.pool] != asked:
        place_everybody(state)
    return number


def forget_demands(state: State) -> None:
    """The policies changed: count the demands anew, so that those of old policies are gone."""
    state.demands.clear()
    state.demand_no.clear()
    state.asked.clear()
    for group in state.groups.values():
        group.demand = -1
    for group in list(state.groups.values()):
        if group.waiting == 0:
            _drop_group(state, group)
    for group in state.groups.values():
        queue = state.queues[group.queue_id]
        group.demand = demand_number(state, queue, group.key[1])
        group.rate = rate_of(queue)


def wake_at(state: State, contact: Contact, due_ms: int) -> None:
    """Look at the contact again at that time."""
    set_timer(state, due_ms, "contact", contact.contact_id)


def lives_until_ms(queue: Queue, contact: Contact) -> int | None:
    """When the contact expires if nobody has it by then: the queue's time to live after it came, or was due."""
    if queue.policy.ttl_ms is None or not contact.may_expire:
        return None
    return contact.routing_age_at_ms + queue.policy.ttl_ms


def moments(queue: Queue, contact: Contact) -> list[int]:
    """When the policy has something to say about a waiting contact."""
    policy = queue.policy
    found = [contact.queued_at_ms + one.after_ms for one in policy.escalations]
    found += [
        contact.queued_at_ms + rule.when.waited_over_ms + 1
        for rule in policy.overflow
        if rule.when.waited_over_ms is not None
    ]
    ends_ms = lives_until_ms(queue, contact)
    if ends_ms is not None:
        found.append(ends_ms)
    if contact.step_ends_ms is not None:
        found.append(contact.step_ends_ms)
    return found


def _drop_group(state: State, group: Group) -> None:
    able = group.able
    bit = 1 << group.no
    while able:
        low = able & -able
        able ^= low
        state.profile_at[low.bit_length() - 1].able &= ~bit
    del state.groups[group.key]
    del state.group_at[group.no]
    state.group_numbers.append(group.no)
    state.dirty_groups.pop(group.no, None)
