"""Whether a policy can work. What cannot is refused when it is saved, with the path and the reason."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from common.contracts.needs import is_impossible, need_faults, size_faults
from common.contracts.policies import OVERFLOW_RULES_MAX, PARALLEL_MAX, STEPS_MAX, Condition, Need, QueuePolicy
from router.core.model.queue import CHANNEL_UNITS
from router.core.rules.criteria import both
from router.policies.opening_hours import faults_of

PRIORITY_MAX = 1_000
DAY_MS = 86_400_000
WAIT_MAX_MS = 14 * DAY_MS
"""The longest time that a policy may name: two weeks."""


class Fault(NamedTuple):
    """Where a policy cannot work, and why."""

    path: str
    reason: str


class Known(NamedTuple):
    """What a policy may refer to. `queues`: those of the same pool, with their policies; None: not checked."""

    skills: set[str] | None
    queues: Mapping[str, QueuePolicy]
    scorers: frozenset[str] = frozenset()


def vet(queue_id: str, base: Need, policy: QueuePolicy, known: Known) -> list[Fault]:
    """Everything about the policy of the queue that cannot work. `base`: what the queue asks besides the policy."""
    too_large = [
        Fault(path, reason)
        for path, need in (("need", policy.need), *_step_needs(policy))
        for reason in size_faults(need)
    ]
    if too_large:
        return too_large  # nothing below may walk such a need
    found = [
        *_needs(base, policy, known),
        *_order(policy),
        *_choice(policy, known),
        *_offers(policy),
        *_bounds(policy),
        *_overflow(queue_id, policy, known),
        *_others(queue_id, policy, known),
    ]
    if policy.hours is not None:
        found += [Fault(f"hours.{path}", reason) for path, reason in faults_of(policy.hours)]
    return found


def _step_needs(policy: QueuePolicy) -> Iterator[tuple[str, Need]]:
    for number, step in enumerate(policy.steps):
        yield f"steps[{number}].need", step.need


def _needs(base: Need, policy: QueuePolicy, known: Known) -> Iterator[Fault]:
    whole = both(base, policy.need)
    yield from _need("need", policy.need, known)
    if is_impossible(whole) and not is_impossible(policy.need):
        yield Fault("need", "contradicts what the queue requires: nobody could ever serve it")
    if len(policy.steps) > STEPS_MAX:
        yield Fault("steps", f"has more than {STEPS_MAX} steps")
    for number, step in enumerate(policy.steps):
        yield from _need(f"steps[{number}].need", step.need, known)
        yield from _span(f"steps[{number}].expires_ms", step.expires_ms)
        if is_impossible(both(whole, step.need)) and not is_impossible(step.need):
            yield Fault(f"steps[{number}].need", "shrinks to nobody together with what the queue itself asks for")
    for number, sticky in enumerate(policy.sticky):
        yield from _span(f"sticky[{number}].wait_ms", sticky.wait_ms)


def _need(path: str, need: Need, known: Known) -> Iterator[Fault]:
    for reason in need_faults(need, skills=known.skills):
        yield Fault(path, reason)


def _order(policy: QueuePolicy) -> Iterator[Fault]:
    order = policy.order
    if order.method == "ratio" and not 1 <= order.share_percent <= 100:
        yield Fault("order.share_percent", "must be 1 to 100 for the method ratio")
    if order.points_per_second < 1 or not 0 <= order.points_per_priority <= 1_000_000:
        yield Fault("order", "points must be positive")
    before = -1
    for number, escalation in enumerate(policy.escalations):
        yield from _span(f"escalations[{number}].after_ms", escalation.after_ms)
        if escalation.after_ms <= before:
            yield Fault(f"escalations[{number}].after_ms", "must be later than the one before")
        before = escalation.after_ms
        if not 0 <= escalation.priority <= PRIORITY_MAX:
            yield Fault(f"escalations[{number}].priority", f"must be 0 to {PRIORITY_MAX}")


def _choice(policy: QueuePolicy, known: Known) -> Iterator[Fault]:
    choice = policy.choice
    if choice.method == "best_fit" and not choice.weights:
        yield Fault("choice.weights", "best_fit needs weights")
    for skill in choice.weights:
        if known.skills is not None and skill not in known.skills:
            yield Fault(f"choice.weights.{skill}", f"there is no skill {skill}")
    if choice.method == "scorer" and choice.scorer not in known.scorers:
        yield Fault("choice.scorer", f"this installation has no scorer {choice.scorer!r}")
    if not 1 <= choice.budget_ms <= 1_000:
        yield Fault("choice.budget_ms", "must be 1 to 1,000")
    batch = policy.micro_batch
    if batch is not None and not (50 <= batch.window_ms <= 250 and 2 <= batch.burst <= 1_000):
        yield Fault("micro_batch", "window_ms must be 50 to 250 and burst 2 to 1,000")


def _offers(policy: QueuePolicy) -> Iterator[Fault]:
    offers = policy.offers
    if not 1 <= offers.parallel <= PARALLEL_MAX:
        yield Fault("offers.parallel", f"must be 1 to {PARALLEL_MAX}")
    if offers.auto_accept and offers.parallel > 1:
        yield Fault("offers.auto_accept", "cannot go together with parallel offers")
    if not 1 <= offers.strikes <= 100:
        yield Fault("offers.strikes", "must be 1 to 100")
    for channel, timeout_ms in offers.timeouts_ms.items():
        yield from _channel(f"offers.timeouts_ms.{channel}", channel)
        if not 1_000 <= timeout_ms <= 600_000:
            yield Fault(f"offers.timeouts_ms.{channel}", "must be 1,000 to 600,000")
    for name in ("first_response_ms", "decline_memory_ms"):
        if not 0 <= getattr(offers, name) <= DAY_MS:
            yield Fault(f"offers.{name}", f"must be 0 to {DAY_MS:,}")
    for channel, units in policy.capacity.units.items():
        yield from _channel(f"capacity.units.{channel}", channel)
        if not 1 <= units <= 60:
            yield Fault(f"capacity.units.{channel}", "must be 1 to 60")
    for channel in policy.capacity.interrupts:
        yield from _channel("capacity.interrupts", channel)


def _bounds(policy: QueuePolicy) -> Iterator[Fault]:
    if policy.length_max is not None and policy.length_max < 1:
        yield Fault("length_max", "a cap of zero lets nobody wait; use an overflow rule with all_busy for that")
    if policy.ttl_ms is not None:
        yield from _span("ttl_ms", policy.ttl_ms)
    if not 0 <= policy.transfers_max <= 100:
        yield Fault("transfers_max", "must be 0 to 100")
    yield from _span("resume_hold_ms", policy.resume_hold_ms)
    home = policy.home
    if not 0 <= home.link_score_min <= 100:
        yield Fault("home.link_score_min", "must be 0 to 100")
    if not 0 <= home.expected_handle_ms <= DAY_MS:
        yield Fault("home.expected_handle_ms", f"must be 0 to {DAY_MS:,}")
    if policy.fair is not None and not (1 <= policy.fair.offers <= 10_000 and 1_000 <= policy.fair.window_ms <= DAY_MS):
        yield Fault("fair", "offers must be 1 to 10,000 and window_ms 1,000 to 86,400,000")


def _overflow(queue_id: str, policy: QueuePolicy, known: Known) -> Iterator[Fault]:
    if len(policy.overflow) > OVERFLOW_RULES_MAX:
        yield Fault("overflow", f"has more than {OVERFLOW_RULES_MAX} rules")
    for number, rule in enumerate(policy.overflow):
        path = f"overflow[{number}]"
        if (bool(rule.queue) + rule.callback + bool(rule.message)) != 1:
            yield Fault(path, "needs exactly one of queue, callback and message")
        if rule.when == Condition():
            yield Fault(f"{path}.when", "names no condition and would always hold")
        for name in ("longest_wait_over_ms", "estimated_wait_over_ms", "waited_over_ms", "length_over"):
            value = getattr(rule.when, name)
            if value is not None and not 0 <= value <= WAIT_MAX_MS:
                yield Fault(f"{path}.when.{name}", f"must be 0 to {WAIT_MAX_MS:,}")
        if rule.queue:
            yield from _queue(f"{path}.queue", rule.queue, queue_id, known)
    for number, share in enumerate(policy.split):
        yield from _queue(f"split[{number}].queue", share.queue, queue_id, known)
        if not 1 <= share.percent <= 100:
            yield Fault(f"split[{number}].percent", "must be 1 to 100")
        if share.queue in known.queues and known.queues[share.queue].split:
            yield Fault(f"split[{number}].queue", f"{share.queue} is split itself")
    if sum(share.percent for share in policy.split) > 100:
        yield Fault("split", "the shares are more than 100 percent")
    way = _way_back(queue_id, {**known.queues, queue_id: policy})
    if way:
        yield Fault("overflow", f"contacts would overflow in a circle: {' to '.join(way)}")


def _way_back(queue_id: str, policies: Mapping[str, QueuePolicy]) -> list[str]:
    """The way on which contacts would come back to the queue, if there is one."""
    ways = [[queue_id]]
    seen = set()
    while ways:
        way = ways.pop()
        for rule in policies[way[-1]].overflow:
            if rule.queue == queue_id:
                return [*way, queue_id]
            if rule.queue in policies and rule.queue not in seen:
                seen.add(rule.queue)
                ways.append([*way, rule.queue])
    return []


def _others(queue_id: str, policy: QueuePolicy, known: Known) -> Iterator[Fault]:
    if policy.borrow is not None:
        yield from _queue("borrow.lender", policy.borrow.lender, queue_id, known)
        if policy.borrow.when == Condition():
            yield Fault("borrow.when", "names no condition and would always hold")
    if policy.headroom is not None:
        yield from _queue("headroom.queue", policy.headroom.queue, queue_id, known)
        yield from _channel("headroom.channel", policy.headroom.channel)
        if policy.headroom.agents < 1:
            yield Fault("headroom.agents", "must be at least 1")


def _queue(path: str, name: str, queue_id: str, known: Known) -> Iterator[Fault]:
    if name == queue_id:
        yield Fault(path, "is the queue itself")
    elif name not in known.queues:
        yield Fault(path, f"there is no queue {name} in this pool")


def _channel(path: str, channel: str) -> Iterator[Fault]:
    if channel not in CHANNEL_UNITS:
        yield Fault(path, f"there is no channel {channel}")


def _span(path: str, value: int) -> Iterator[Fault]:
    if not 1 <= value <= WAIT_MAX_MS:
        yield Fault(path, f"must be 1 to {WAIT_MAX_MS:,} milliseconds")
