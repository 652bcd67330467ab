"""Wait estimates as they are told to people: at most five seconds old, and held against what came true."""

from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass

from router import metrics
from router.core import State
from router.core.index.state import Group
from router.core.index.waiting import is_true
from router.core.model import decisions
from router.core.model.contact import Contact, ContactState
from router.core.model.decisions import Output
from router.core.queries.estimate import COUNTED_MAX, Estimate, estimate
from router.core.rules.order import Entry

OLD_AFTER_MS = 5_000
KEPT_MAX = 20_000
"""First estimates that are remembered until their contact is answered; the oldest is forgotten first."""
FIRST_MAX = 100
"""First estimates that are made of one batch of decisions; whoever else begins to wait in it is not judged."""
ORDERED_MAX = 64
"""Large groups whose order is kept for a while; the one that was ordered first is forgotten first."""


@dataclass(frozen=True, slots=True)
class Told:
    """An estimate and when it was made."""

    at_ms: int
    estimate: Estimate


class Forecasts:
    """The estimates of one shard."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, Told] = OrderedDict()
        self._first: OrderedDict[str, Told] = OrderedDict()
        self._ordered: dict[tuple[str, str, int], tuple[int, list[Entry]]] = {}

    def of(self, state: State, contact_id: str) -> Told | None:
        """The contact's estimate, made anew when the last one is old; None when it does not wait."""
        contact = state.contacts.get(contact_id)
        if contact is None or contact.state is not ContactState.QUEUED:
            return None
        known = self._told.get(contact_id)
        if known is not None and state.now_ms - known.at_ms < OLD_AFTER_MS:
            return known
        told = Told(state.now_ms, estimate(state, contact, self._place(state, contact)))
        _keep(self._told, contact_id, told)
        return told

    def learn(self, state: State, decided: list[tuple[Output, int]]) -> None:
        """Note a first estimate for those who begin to wait, and judge those of who was answered."""
        left = FIRST_MAX
        for output, at_ms in decided:
            if isinstance(output, decisions.Queued):
                contact = state.contacts.get(output.contact_id)
                if contact is not None and contact.contact_id in state.place_of and left:
                    left -= 1
                    _keep(self._first, contact.contact_id, Told(at_ms, estimate(state, contact)))
            elif isinstance(output, decisions.Accepted):
                first = self._first.pop(output.contact_id, None)
                if first is not None:
                    _judge(first, at_ms - first.at_ms)
            elif isinstance(
                output, (decisions.Abandoned, decisions.Cancelled, decisions.Expired, decisions.Overflowed)
            ):
                self._first.pop(output.contact_id, None)

    def _place(self, state: State, contact: Contact) -> int | None:
        """The contact's place in its own group, where that is too large to be counted each time: from an order that is at most
        as old as an estimate may be, and older in a very large one, so that ordering never takes more than a small share.
        """
        group, entry = state.place_of[contact.contact_id]
        if group.waiting <= COUNTED_MAX:
            return None
        key = (group.queue_id, group.key[1], group.no)
        known = self._ordered.get(key)
        if known is None or state.now_ms - known[0] >= max(OLD_AFTER_MS, group.waiting // 10):
            self._ordered.pop(key, None)
            known = self._ordered[key] = (state.now_ms, _in_order(state, group))
            if len(self._ordered) > ORDERED_MAX:
                del self._ordered[next(iter(self._ordered))]
        return bisect_left(known[1], entry)


def _in_order(state: State, group: Group) -> list[Entry]:
    return sorted({entry for entry in group.heap if is_true(state, group, entry)})


def _judge(first: Told, waited_ms: int) -> None:
    if first.estimate.p50_ms is None:
        return
    metrics.estimates_judged.inc()
    for name, bound_ms in (("p50", first.estimate.p50_ms), ("p90", first.estimate.p90_ms)):
        if bound_ms is not None and waited_ms <= bound_ms:
            metrics.wait_within_estimate.labels(name).inc()


def _keep(kept: OrderedDict[str, Told], contact_id: str, told: Told) -> None:
    kept[contact_id] = told
    kept.move_to_end(contact_id)
    if len(kept) > KEPT_MAX:
        kept.popitem(last=False)
