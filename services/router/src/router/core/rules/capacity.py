"""Whether an agent has room for a contact of a kind: capacity, line, hours, fairness. The skills are another question."""

from typing import NamedTuple

from common.contracts.policies import Fair
from router.core.model.agent import Agent
from router.core.model.contact import EXCEED, INTERRUPT
from router.core.model.queue import CHANNEL_UNITS, Queue

TOKEN = 1_000
"""Tokens are counted in thousandths, so that refilling needs no fractions."""
FIRST_UNITS = [tuple(range(1, units + 1)) for units in range(61)]
DENIALS = {
    name: rank
    for rank, name in enumerate(
        (
            "break_due",
            "shift_ends",
            "hours_denied",
            "premium_hours",
            "link_score",
            "channel_max",
            "capacity",
            "fair_share",
        )
    )
}
"""What can keep an agent who is ready from every contact, and in which order it is told where it is not the same for all."""


class Demand(NamedTuple):
    """What a contact asks of an agent besides skills. Contacts with the same demand find the same room."""

    channel: str
    units: int
    interrupts: tuple[str, ...]
    exceed: bool
    link_score_min: int
    handle_ms: int
    premium: bool
    fair_queue: str
    fair: Fair | None


def demand_of(queue: Queue, channel: str) -> Demand:
    """The demand of the queue's contacts of a channel."""
    policy = queue.policy
    return Demand(
        channel=channel,
        units=units_of(queue, channel),
        interrupts=policy.capacity.interrupts,
        exceed=policy.capacity.exceed,
        link_score_min=policy.home.link_score_min,
        handle_ms=policy.home.expected_handle_ms,
        premium=policy.home.premium,
        fair_queue=queue.queue_id if policy.fair else "",
        fair=policy.fair,
    )


ANYTHING = Demand(
    channel="",
    units=1,
    interrupts=(),
    exceed=True,
    link_score_min=0,
    handle_ms=0,
    premium=True,
    fair_queue="",
    fair=None,
)
"""What any contact asks at least, for agents in whose pool nothing has been asked for yet."""


def units_of(queue: Queue, channel: str) -> int:
    """Capacity units that a contact of the channel takes in this queue."""
    return queue.policy.capacity.units.get(channel) or CHANNEL_UNITS[channel]


def obstacle(agent: Agent, demand: Demand, now_ms: int) -> str:
    """Why the agent has no room for the demand; empty when it has."""
    if agent.work or agent.elsewhere:
        if _counted(agent, demand) > (agent.units if demand.exceed else agent.units - demand.units):
            return "capacity"
        if agent.channel_max and not _below_channel_max(agent, demand.channel):
            return "channel_max"
    elif demand.units > agent.units and not demand.exceed:
        return "capacity"
    elif agent.channel_max and not _below_channel_max(agent, demand.channel):
        return "channel_max"
    if agent.link_score < demand.link_score_min:
        return "link_score"
    if agent.resuming:
        return "resuming"
    if demand.fair is not None and tokens(agent, demand.fair_queue, demand.fair, now_ms) < TOKEN:
        return "fair_share"
    return hours_obstacle(agent, demand, now_ms)


def is_denial(agent: Agent, why: str) -> bool:
    """Whether the obstacle is one that the agent must be told: not that they have their hands full."""
    if why == "capacity" or why == "channel_max":
        return not agent.work and not agent.elsewhere
    return why in DENIALS


def could_ever_take(agent: Agent, demand: Demand) -> bool:
    """Whether the agent, with nothing in hand, would have room for the demand."""
    fits = demand.exceed or demand.units <= agent.units
    return fits and dict(agent.channel_max).get(demand.channel, 1) > 0


def hours_obstacle(agent: Agent, demand: Demand, now_ms: int) -> str:
    """Why the contact would not fit into the agent's hours; empty when it does."""
    ends_ms = now_ms + demand.handle_ms
    if agent.break_due_ms is not None and ends_ms > agent.break_due_ms:
        return "break_due"
    if agent.shift_ends_ms is not None and ends_ms > agent.shift_ends_ms:
        return "shift_ends"
    if agent.denied_from_ms is not None and ends_ms > agent.denied_from_ms:
        return "hours_denied"
    if not demand.premium and agent.premium_from_ms is not None and ends_ms > agent.premium_from_ms:
        return "premium_hours"
    return ""


def lapses_ms(agent: Agent, demand: Demand) -> int | None:
    """From when on the contact would not fit into the agent's hours any more; None when time alone changes nothing."""
    limits = [agent.break_due_ms, agent.shift_ends_ms, agent.denied_from_ms]
    if not demand.premium:
        limits.append(agent.premium_from_ms)
    given = [limit for limit in limits if limit is not None]
    return min(given) - demand.handle_ms + 1 if given else None


def tokens(agent: Agent, queue_id: str, fair: Fair, now_ms: int) -> int:
    """What is in the agent's bucket for the queue, in thousandths of an offer."""
    level, at_ms = agent.tokens.get(queue_id, (fair.offers * TOKEN, now_ms))
    return min(fair.offers * TOKEN, level + (now_ms - at_ms) * fair.offers * TOKEN // fair.window_ms)


def spend_token(agent: Agent, queue_id: str, fair: Fair, now_ms: int) -> None:
    """One offer more."""
    agent.tokens[queue_id] = (tokens(agent, queue_id, fair, now_ms) - TOKEN, now_ms)


def refilled_ms(agent: Agent, queue_id: str, fair: Fair, now_ms: int) -> int:
    """When the bucket holds one offer again."""
    missing = TOKEN - tokens(agent, queue_id, fair, now_ms)
    return now_ms + -(-missing * fair.window_ms // (fair.offers * TOKEN))


def allot(agent: Agent, demand: Demand) -> tuple[tuple[int, ...], str]:
    """The agent's lowest free unit numbers for the demand, and why they may go beyond its capacity (empty: they do not).

    Raises `AssertionError` where the agent has no room: whoever asks it must have looked.
    """
    if not agent.work and not agent.elsewhere and demand.units <= agent.units:
        return FIRST_UNITS[demand.units], ""
    over = _why_over(agent, demand)
    taken = {number for _, numbers in agent.work.values() for number in numbers}
    taken.update(agent.elsewhere)
    numbers: list[int] = []
    number = 0
    while len(numbers) < demand.units:
        number += 1
        if number not in taken:
            numbers.append(number)
    assert over or numbers[-1] <= agent.units, f"{agent.agent_id} has {agent.units} units, not {numbers}"
    return tuple(numbers), over


def _why_over(agent: Agent, demand: Demand) -> str:
    """Why the demand may be met beyond the agent's capacity; empty where it fits into it."""
    if agent.used_units + demand.units <= agent.units:
        return ""
    used = _counted(agent, demand)
    if used + demand.units <= agent.units:
        return INTERRUPT
    assert demand.exceed and used <= agent.units, f"{agent.agent_id} has no room for {demand.units} units"
    return EXCEED


def _counted(agent: Agent, demand: Demand) -> int:
    """Units that the agent has in use and that count against the demand."""
    used = len(agent.elsewhere)
    for channel, numbers in agent.work.values():
        if channel not in demand.interrupts:
            used += len(numbers)
    return used


def _below_channel_max(agent: Agent, channel: str) -> bool:
    for name, most in agent.channel_max:
        if name == channel:
            return sum([taken == channel for taken, _ in agent.work.values()]) < most
    return True
