"""How long a contact will wait: among how many for the same agents, and the time until its turn.

With s agents who are signed in and can serve it, mean handle time h and n contacts before it, its turn comes with the
(n+1)-th end of a conversation; ends come at rate s/h, so the wait is Gamma(n+1, h/s). Its quantiles by Wilson and Hilferty
(1931): k(1 - 1/(9k) + z/(3 sqrt k))^3 with k = n+1.
"""

from dataclasses import dataclass

from router.core.staff import able_profiles
from router.core.state import State
from router.core.values import Contact, ContactState
from router.core.waiting import is_true, need_now, rank_now

HANDLE_DEFAULT_MS = 180_000
"""Mean handle time of a queue whose conversations nobody has seen yet."""
Z90 = 1.2815515655446004


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """`position` counts from 1 among contacts that compete for the same agents; None when nobody could serve it."""

    position: int
    agents: int
    p50_ms: int | None
    p90_ms: int | None


def estimate(state: State, contact: Contact) -> Estimate:
    """Position and wait from now on of a contact that waits."""
    assert contact.state is ContactState.QUEUED, contact
    own, entry = state.place_of[contact.contact_id]
    able = able_profiles(state, need_now(state, contact), contact.pool)
    agents = _staffed(state, able & state.staffed)
    key = rank_now(state, own, entry, state.now_ms)
    before: set[str] = set()
    for group in state.groups.values():
        if group.waiting and group.able & able & state.staffed:
            for other in group.heap:
                if is_true(state, group, other) and rank_now(state, group, other, state.now_ms) < key:
                    before.add(other[3])
    return _estimate(state, contact.queue_id, len(before), agents)


def estimate_tail(state: State, queue_id: str) -> Estimate:
    """What a contact that came to the queue now would be told."""
    queue = state.queues[queue_id]
    able = able_profiles(state, queue.need, queue.pool) & state.staffed
    before = sum(group.waiting for group in state.groups.values() if group.waiting and group.able & able)
    return _estimate(state, queue_id, before, _staffed(state, able))


def _estimate(state: State, queue_id: str, before: int, agents: int) -> Estimate:
    if agents == 0:
        return Estimate(position=before + 1, agents=0, p50_ms=None, p90_ms=None)
    expected = state.queues[queue_id].policy.home.expected_handle_ms or HANDLE_DEFAULT_MS
    each_ms = state.handle_ms.get(queue_id, expected) / agents
    k = before + 1

    def quantile(z: float) -> int:
        return int(each_ms * k * max(0.0, 1 - 1 / (9 * k) + z / (3 * k**0.5)) ** 3)

    return Estimate(position=k, agents=agents, p50_ms=quantile(0.0), p90_ms=quantile(Z90))


def _staffed(state: State, profiles: int) -> int:
    agents = 0
    while profiles:
        low = profiles & -profiles
        profiles ^= low
        agents += state.profile_at[low.bit_length() - 1].staffed
    return agents
