"""What queues do: follow their policy when it changes, overflow, and borrow agents. Checked on every change."""

from collections.abc import Collection

from common.contracts.policies import Condition, Overflow
from router.core import inputs, outputs
from router.core.binding import bind_to_queue
from router.core.changes import move, move_to, whose
from router.core.choice import KEPT_IN
from router.core.contacts import call_back
from router.core.estimates import estimate
from router.core.outputs import Output
from router.core.staff import able_profiles, place_everybody
from router.core.state import IDLE, State
from router.core.steps import members
from router.core.values import Contact, ContactState, Queue
from router.core.waiting import (
    age_queues,
    forget_demands,
    link_group,
    longest_wait_ms,
    put_all_waiting,
    rate_of,
    take_all_waiting,
    take_waiting,
)

MOVES_MAX = 16
"""A contact that overflowed so often stays where it is."""
QUEUE_FULL = "queue_full"


def set_queue(state: State, told: inputs.QueueSet, decided: list[Output]) -> None:
    """Take a newer definition; the contacts that wait in the queue follow it at once."""
    queue = told.queue
    known = state.queues.get(queue.queue_id)
    if known is not None and known.version >= queue.version:
        return
    waiting = sorted(take_all_waiting(state, queue.queue_id), key=lambda one: one.contact_id)
    state.queues[queue.queue_id] = queue
    study(state)
    if known is not None:
        forget_demands(state)
        place_everybody(state)
    for contact in waiting:
        bind_to_queue(state, contact, decided)
    put_all_waiting(state, waiting)
    relink_borrowers(state, queue.queue_id)
    for group in state.groups.values():
        if group.waiting:
            state.dirty_groups[group.no] = None


def study(state: State) -> None:
    """What all policies together ask of the core: which orders to keep, which queues to watch."""
    queues = state.queues.values()
    orders = {IDLE} | {KEPT_IN[one.policy.choice.method] for one in queues if one.policy.choice.method in KEPT_IN}
    if orders != state.orders:
        state.orders = orders
        place_everybody(state)
    state.is_plain = all(
        rate_of(one) == 1 and one.policy.order.method != "ratio" and not one.policy.order.own_skill_first
        for one in queues
    )
    state.keeps_headroom = any(one.policy.headroom is not None for one in queues)
    state.watched = {
        one.queue_id
        for one in queues
        if one.policy.overflow or one.policy.length_max is not None or one.policy.borrow is not None
    }
    state.borrowers = sorted(one.queue_id for one in queues if one.policy.borrow is not None)
    state.busy_aware = tuple(one for one in state.borrowers if _asks_who_is_busy(state.queues[one]))
    age_queues(state, _looks(queues))
    state.calm = {one.queue_id for one in queues if _asks_nothing(one)} - state.watched
    for one in list(state.watched):
        if state.queues[one].policy.borrow is not None:
            state.watched.add(state.queues[one].policy.borrow.lender)  # type: ignore[union-attr]


def _looks(queues: Collection[Queue]) -> dict[str, tuple[int, ...]]:
    """The queues whose longest wait a policy asks for, and after how long in them borrowing may begin or end."""
    names = {one.queue_id for one in queues}
    found: dict[str, set[int]] = {}
    for queue in queues:
        if any(rule.when.longest_wait_over_ms is not None for rule in queue.policy.overflow):
            found.setdefault(queue.queue_id, set())
        borrow = queue.policy.borrow
        if borrow is None:
            continue
        for name, when in ((queue.queue_id, borrow.when), (borrow.lender, borrow.guard)):
            times = {when.longest_wait_over_ms, when.waited_over_ms} - {None}
            if times and name in names:
                found.setdefault(name, set()).update(one for one in times if one is not None)
    return {name: tuple(sorted(times)) for name, times in found.items()}


def _asks_who_is_busy(queue: Queue) -> bool:
    borrow = queue.policy.borrow
    return borrow is not None and (borrow.when.all_busy or borrow.guard.all_busy)


def _asks_nothing(queue: Queue) -> bool:
    """Whether a contact that joins the queue only has to wait."""
    policy = queue.policy
    return (
        not (policy.steps or policy.sticky or policy.escalations or policy.overflow)
        and policy.ttl_ms is None
        and policy.micro_batch is None
        and policy.choice.method != "scorer"
    )


def open_queue(state: State, told: inputs.QueueOpened, _decided: list[Output]) -> None:
    """The queue's hours began or ended."""
    if told.is_open:
        state.closed.discard(told.queue_id)
    else:
        state.closed.add(told.queue_id)
    if told.queue_id in state.watched:
        state.dirty_queues[told.queue_id] = None


def check_queues(state: State, decided: list[Output]) -> None:
    """Let contacts overflow and queues borrow, where something changed."""
    entered, state.entered = state.entered, {}
    for contact_id in entered:
        contact = state.contacts.get(contact_id)
        if contact is not None and contact.state is ContactState.QUEUED:
            _overflow(state, contact, decided, entering=True)
    dirty, state.dirty_queues = state.dirty_queues, {}
    for queue_id in sorted(dirty):
        queue = state.queues[queue_id]
        if any(_is_standing(rule.when) for rule in queue.policy.overflow):
            for contact in newest_first(state, queue_id):
                if contact.state is ContactState.QUEUED and contact.queue_id == queue_id:
                    _overflow(state, contact, decided, entering=False)
    check_borrowing(state, dirty)


def check_borrowing(state: State, dirty: dict[str, None]) -> None:
    """Let queues begin or end to borrow, where they or their lenders changed."""
    for queue_id in state.borrowers:
        borrow = state.queues[queue_id].policy.borrow
        if borrow is not None and (queue_id in dirty or borrow.lender in dirty):
            _borrow(state, state.queues[queue_id])


def newest_first(state: State, queue_id: str) -> list[Contact]:
    """The contacts that wait in the queue."""
    waiting = [one for group in state.groups.values() if group.queue_id == queue_id for one in members(state, group)]
    return sorted(waiting, key=lambda one: (-one.queued_at_ms, one.contact_id))


def _is_standing(when: Condition) -> bool:
    """Whether the condition is judged anew on every change, and not only as a contact comes."""
    return when.length_over is None and when.longest_wait_over_ms is None and not when.all_busy


def _overflow(state: State, contact: Contact, decided: list[Output], *, entering: bool) -> None:
    queue = state.queues[contact.queue_id]
    newcomer = contact.is_newcomer
    entering = entering and newcomer
    if contact.moves < MOVES_MAX:
        for rule in queue.policy.overflow:
            if not newcomer and (rule.message or rule.when.closed):
                continue  # who was served, or promised a call, is not turned away
            if (entering or _is_standing(rule.when)) and holds(state, rule.when, queue, contact):
                _act(state, contact, rule, decided)
                return
    most = queue.policy.length_max
    if entering and most is not None and state.waiting_in[queue.queue_id] > most:
        _act(state, contact, Overflow(when=Condition(), message=QUEUE_FULL), decided)


def holds(state: State, when: Condition, queue: Queue, contact: Contact | None) -> bool:
    """Whether all that the condition gives holds for the queue, and for the contact where it speaks of one.

    Of a contact that came and still waits all are busy; without one, `waited_over_ms` speaks of who has waited longest.
    """
    queue_id = queue.queue_id
    if when.closed and queue_id not in state.closed:
        return False
    if when.unstaffed and able_profiles(state, queue.need, queue.pool) & state.staffed:
        return False
    if when.length_over is not None and state.waiting_in.get(queue_id, 0) <= when.length_over:
        return False
    if when.longest_wait_over_ms is not None and longest_wait_ms(state, queue_id) <= when.longest_wait_over_ms:
        return False
    if when.all_busy and contact is None and _has_room(state, queue):
        return False
    if when.waited_over_ms is not None:
        waited_ms = longest_wait_ms(state, queue_id) if contact is None else state.now_ms - contact.queued_at_ms
        if waited_ms <= when.waited_over_ms:
            return False
    if when.estimated_wait_over_ms is not None:
        if contact is None:
            waiting = newest_first(state, queue_id)
            contact = waiting[0] if waiting else None
        if contact is None:
            return False
        wait_ms = estimate(state, contact).p50_ms
        if wait_ms is not None and wait_ms <= when.estimated_wait_over_ms:
            return False
    return True


def _has_room(state: State, queue: Queue) -> bool:
    """Whether somebody who meets the queue's need has room for one of its contacts."""
    able = able_profiles(state, queue.need, queue.pool)
    wanted = sum(1 << number for (queue_id, _), number in state.demand_no.items() if queue_id == queue.queue_id)
    return any(profiles & able and (room & wanted or not wanted) for room, profiles in state.open.items())


def turn_away(state: State, decided: list[Output]) -> None:
    """Contacts that came to a queue that is closed, where its policy says what to do then: nobody is asked first."""
    for contact_id in list(state.entered):
        contact = state.contacts.get(contact_id)
        while contact is not None and contact.state is ContactState.QUEUED and contact.queue_id in state.closed:
            queue = state.queues[contact.queue_id]
            rules = (rule for rule in queue.policy.overflow if rule.when.closed)
            rule = next((one for one in rules if holds(state, one.when, queue, contact)), None)
            if rule is None or not contact.is_newcomer or contact.moves >= MOVES_MAX:
                break
            _act(state, contact, rule, decided)
            if contact.queue_id == queue.queue_id:
                break


def _act(state: State, contact: Contact, rule: Overflow, decided: list[Output]) -> None:
    if rule.queue:
        if rule.queue in state.queues and rule.queue != contact.queue_id:
            move_to(state, contact, rule.queue, "overflow", decided)
        return
    if rule.callback:
        if contact.channel != "callback":
            call_back(state, contact, None, "router", decided)
        return
    take_waiting(state, contact)
    end = outputs.Overflowed(**whose(contact), reason=_reason(rule), message=rule.message)
    move(state, contact, end, decided)


def _reason(rule: Overflow) -> str:
    when = rule.when
    for name in ("closed", "unstaffed", "all_busy"):
        if getattr(when, name):
            return name
    for name in ("length_over", "longest_wait_over_ms", "estimated_wait_over_ms", "waited_over_ms"):
        if getattr(when, name) is not None:
            return name.removesuffix("_ms")
    return QUEUE_FULL


def _borrow(state: State, queue: Queue) -> None:
    """Begin or end to borrow the lender's agents."""
    borrow = queue.policy.borrow
    assert borrow is not None, queue
    lender = state.queues.get(borrow.lender)
    wanted = (
        lender is not None
        and state.waiting_in.get(queue.queue_id, 0) > 0
        and holds(state, borrow.when, queue, None)
        and not (borrow.guard != Condition() and holds(state, borrow.guard, lender, None))
    )
    if wanted == (queue.queue_id in state.borrowing):
        return
    if wanted:
        state.borrowing.add(queue.queue_id)
    else:
        state.borrowing.discard(queue.queue_id)
    relink(state, queue.queue_id)


def relink_borrowers(state: State, lender: str) -> None:
    """The lender's need may have changed: work out anew whom its borrowers may ask."""
    for queue in state.queues.values():
        if queue.policy.borrow is not None and queue.policy.borrow.lender == lender:
            relink(state, queue.queue_id)


def relink(state: State, queue_id: str) -> None:
    """Work out anew who may serve the queue's groups."""
    for group in list(state.groups.values()):
        if group.queue_id == queue_id:
            link_group(state, group)
            state.dirty_groups[group.no] = None
