"""What queues do: follow their policy when it changes, overflow, and borrow agents. Checked on every change."""

from collections.abc import Collection

from common.contracts.policies import Condition, Overflow
from router.core.index.agents import able_profiles, name_agents, place_everybody
from router.core.index.state import IDLE, State, set_timer
from router.core.index.waiting import (
    age_queues,
    forget_demands,
    longest_wait_ms,
    put_all_waiting,
    relink_groups,
    take_all_waiting,
    take_waiting,
)
from router.core.lifecycle.binding import bind_to_queue
from router.core.lifecycle.changes import move, move_to, whose
from router.core.lifecycle.contact import call_back
from router.core.matching.selection import KEPT_IN
from router.core.matching.steps import members, skip_where_nobody_is
from router.core.model import decisions, events
from router.core.model.contact import Contact, ContactState
from router.core.model.decisions import Output
from router.core.model.queue import Queue
from router.core.queries.estimate import estimate, estimate_newest
from router.core.rules.order import rate_of

MOVES_MAX = 16
"""A contact that overflowed so often stays where it is."""
JUDGE_EVERY_MS = 1_000
"""Estimated waits of a queue are held against its rules at most so often, besides those of newcomers, who are judged as they come."""
GROUPS_JUDGED_MAX = 20
"""In a queue whose contacts have more different needs, estimates of those needs that most ask for are judged anew."""
QUEUE_FULL = "queue_full"


def set_queue(state: State, told: events.QueueSet, decided: list[Output]) -> None:
    """Take a newer definition; the contacts that wait in the queue follow it at once."""
    queue = told.queue
    known = state.queues.get(queue.queue_id)
    if known is not None and known.version >= queue.version:
        return
    waiting = sorted(take_all_waiting(state, queue.queue_id), key=lambda one: one.contact_id)
    state.queues[queue.queue_id] = queue
    name_agents(
        state, queue.need
    )  # also where nobody waits: headroom, `unstaffed` and who is busy speak of whom it names
    study(state)
    if known is not None:
        forget_demands(state)
        place_everybody(state)
    for contact in waiting:
        bind_to_queue(state, contact, decided)
    put_all_waiting(state, waiting)
    relink_borrowers(state, queue.queue_id, decided)
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


def open_queue(state: State, told: events.QueueOpened, _decided: list[Output]) -> None:
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
            _overflow(state, contact, decided)
    dirty, state.dirty_queues = state.dirty_queues, {}
    for queue_id in sorted(dirty):
        _judge_standing(state, state.queues[queue_id], decided)
    check_borrowing(state, dirty, decided)


def check_borrowing(state: State, dirty: dict[str, None], decided: list[Output]) -> None:
    """Let queues begin or end to borrow, where they or their lenders changed."""
    for queue_id in state.borrowers:
        borrow = state.queues[queue_id].policy.borrow
        if borrow is not None and (queue_id in dirty or borrow.lender in dirty):
            _borrow(state, state.queues[queue_id], decided)


def _judge_standing(state: State, queue: Queue, decided: list[Output]) -> None:
    """Let whoever waits in the queue overflow by rules that are judged on every change, the newest first.

    Nobody is looked at while what a rule says of the whole queue does not hold. Estimated waits grow with the place in a group:
    they are looked at from the newest on, as far as the first one that is short enough, and at most every `JUDGE_EVERY_MS`.
    """
    rules = [rule for rule in queue.policy.overflow if _is_standing(rule.when) and _may_hold(state, rule.when, queue)]
    estimated = [rule for rule in rules if rule.when.estimated_wait_over_ms is not None]
    judged = _long_groups(state, queue, estimated) if estimated and _may_judge(state, queue.queue_id) else set()
    if not judged and len(estimated) == len(rules):
        return
    short: dict[tuple[int, int], int] = {}
    for contact, group_no, place in _newest_first(state, queue.queue_id):
        if contact.state is not ContactState.QUEUED or contact.queue_id != queue.queue_id or contact.moves >= MOVES_MAX:
            continue
        for number, rule in enumerate(rules):
            bound_ms = rule.when.estimated_wait_over_ms
            if bound_ms is not None and (group_no not in judged or place <= short.get((group_no, number), -1)):
                continue
            if not (_concerns(rule, contact) and _holds_now(state, rule.when, contact)):
                continue
            if bound_ms is not None and not _is_long(estimate(state, contact, place).p50_ms, bound_ms):
                short[group_no, number] = place
                continue
            _act(state, contact, rule, decided)
            break


def _newest_first(state: State, queue_id: str) -> list[tuple[Contact, int, int]]:
    """The contacts that wait in the queue, each with its group's number and its place there."""
    waiting = [
        (one, group.no, place)
        for group in state.groups.values()
        if group.queue_id == queue_id and group.waiting
        for place, one in enumerate(members(state, group))
    ]
    return sorted(waiting, key=lambda each: (-each[0].queued_at_ms, -each[2], each[0].contact_id))


def _may_judge(state: State, queue_id: str) -> bool:
    """Whether estimates of the queue may be judged anew; if it is too early, they are when it is time."""
    due_ms = state.judged_ms.get(queue_id, state.now_ms - JUDGE_EVERY_MS) + JUDGE_EVERY_MS
    if state.now_ms >= due_ms:
        state.judged_ms[queue_id] = state.now_ms
        return True
    if queue_id not in state.to_judge:
        state.to_judge[queue_id] = None
        set_timer(state, due_ms, "queue", queue_id)
    return False


def _long_groups(state: State, queue: Queue, rules: list[Overflow]) -> set[int]:
    """The groups of the queue whose last contact waits too long for one of the rules, among those in which most wait."""
    groups = [group for group in state.groups.values() if group.queue_id == queue.queue_id and group.waiting]
    if len(groups) > GROUPS_JUDGED_MAX:
        groups = sorted(groups, key=lambda one: (-one.waiting, one.no))[:GROUPS_JUDGED_MAX]
    found: set[int] = set()
    for group in groups:
        wait_ms = estimate_newest(state, group).p50_ms
        if any(_is_long(wait_ms, rule.when.estimated_wait_over_ms or 0) for rule in rules):
            found.add(group.no)
    return found


def _concerns(rule: Overflow, contact: Contact) -> bool:
    """Who was served, or promised a call, is not turned away."""
    return contact.is_newcomer or not (rule.message or rule.when.closed)


def _is_long(wait_ms: int | None, bound_ms: int) -> bool:
    """Whether an estimate is over the bound; that of a contact whom nobody could serve is."""
    return wait_ms is None or wait_ms > bound_ms


def _is_standing(when: Condition) -> bool:
    """Whether the condition is judged anew on every change, and not only as a contact comes."""
    return when.length_over is None and when.longest_wait_over_ms is None and not when.all_busy


def _overflow(state: State, contact: Contact, decided: list[Output]) -> None:
    """The contact came to its queue: the first rule that holds sends it on."""
    queue = state.queues[contact.queue_id]
    newcomer = contact.is_newcomer
    if contact.moves < MOVES_MAX:
        for rule in queue.policy.overflow:
            if (
                (newcomer or _is_standing(rule.when))
                and _concerns(rule, contact)
                and holds(state, rule.when, queue, contact)
            ):
                _act(state, contact, rule, decided)
                return
    most = queue.policy.length_max
    if newcomer and most is not None and state.waiting_in[queue.queue_id] > most:
        _act(state, contact, Overflow(when=Condition(), message=QUEUE_FULL), decided)


def holds(state: State, when: Condition, queue: Queue, contact: Contact | None) -> bool:
    """Whether all that the condition gives holds for the queue, and for the contact where it speaks of one.

    Of a contact that came and still waits all are busy; without one, `waited_over_ms` speaks of who has waited longest.
    """
    if not _may_hold(state, when, queue):
        return False
    if contact is not None and not _holds_now(state, when, contact):
        return False
    if contact is None:
        if when.all_busy and _has_room(state, queue):
            return False
        if when.waited_over_ms is not None and longest_wait_ms(state, queue.queue_id) <= when.waited_over_ms:
            return False
    bound_ms = when.estimated_wait_over_ms
    if bound_ms is None:
        return True
    if contact is not None:
        return _is_long(estimate(state, contact).p50_ms, bound_ms)
    return bool(_long_groups(state, queue, [Overflow(when=when)]))


def _may_hold(state: State, when: Condition, queue: Queue) -> bool:
    """Whether what the condition says of the whole queue holds."""
    queue_id = queue.queue_id
    if when.closed and queue_id not in state.closed:
        return False
    if when.unstaffed and able_profiles(state, queue.need, queue.pool) & state.staffed:
        return False
    if when.length_over is not None and state.waiting_in.get(queue_id, 0) <= when.length_over:
        return False
    return when.longest_wait_over_ms is None or longest_wait_ms(state, queue_id) > when.longest_wait_over_ms


def _holds_now(state: State, when: Condition, contact: Contact) -> bool:
    """Whether what it says of the contact's wait until now holds."""
    return when.waited_over_ms is None or state.now_ms - contact.queued_at_ms > when.waited_over_ms


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
    end = decisions.Overflowed(**whose(contact), reason=_reason(rule), message=rule.message)
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


def _borrow(state: State, queue: Queue, decided: list[Output]) -> None:
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
    relink(state, queue.queue_id, decided)


def relink_borrowers(state: State, lender: str, decided: list[Output]) -> None:
    """The lender's need may have changed: work out anew whom its borrowers may ask."""
    for queue in state.queues.values():
        if queue.policy.borrow is not None and queue.policy.borrow.lender == lender:
            relink(state, queue.queue_id, decided)


def relink(state: State, queue_id: str, decided: list[Output]) -> None:
    """Work out anew who may serve the queue's groups; steps for which nobody is left are skipped."""
    skip_where_nobody_is(state, relink_groups(state, queue_id), decided)
