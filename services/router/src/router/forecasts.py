"""Wait estimates as they are told to people: at most five seconds old, and held against what came true."""

from collections import OrderedDict
from dataclasses import dataclass

from router import metrics
from router.core import State, outputs
from router.core.estimates import Estimate, estimate, estimate_tail
from router.core.outputs import Output
from router.core.values import ContactState

OLD_AFTER_MS = 5_000
KEPT_MAX = 20_000
"""First estimates that are remembered until their contact is answered; the oldest is forgotten first."""


@dataclass(frozen=True, slots=True)
class Told:
    """An estimate and when it was made."""

    at_ms: int
    estimate: Estimate


class Forecasts:
    """The estimates of one shard."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, Told] = OrderedDict()
        self._tails: dict[str, Told] = {}
        self._first: OrderedDict[str, Told] = OrderedDict()

    def of(self, state: State, contact_id: str) -> Told | None:
        """The contact's estimate, made anew when the last one is old; None when it does not wait."""
        contact = state.contacts.get(contact_id)
        if contact is None or contact.state is not ContactState.QUEUED:
            return None
        known = self._told.get(contact_id)
        if known is not None and state.now_ms - known.at_ms < OLD_AFTER_MS:
            return known
        told = Told(state.now_ms, estimate(state, contact))
        _keep(self._told, contact_id, told)
        return told

    def learn(self, state: State, decided: list[tuple[Output, int]]) -> None:
        """Note a first estimate for those who begin to wait, and judge those of who was answered."""
        for output, at_ms in decided:
            if isinstance(output, outputs.Queued) and output.contact_id in state.place_of:
                _keep(self._first, output.contact_id, Told(at_ms, self._tail(state, output.queue_id)))
            elif isinstance(output, outputs.Accepted):
                first = self._first.pop(output.contact_id, None)
                if first is not None:
                    _judge(first, at_ms - first.at_ms)
            elif isinstance(output, (outputs.Abandoned, outputs.Cancelled, outputs.Expired, outputs.Overflowed)):
                self._first.pop(output.contact_id, None)

    def _tail(self, state: State, queue_id: str) -> Estimate:
        """What a contact that joins the queue is told; worked out once in a while, not for each."""
        known = self._tails.get(queue_id)
        if known is None or state.now_ms - known.at_ms >= OLD_AFTER_MS:
            known = self._tails[queue_id] = Told(state.now_ms, estimate_tail(state, queue_id))
        return known.estimate


def _judge(first: Told, waited_ms: int) -> None:
    metrics.estimates_judged.inc()
    for name, bound_ms in (("p50", first.estimate.p50_ms), ("p90", first.estimate.p90_ms)):
        if bound_ms is not None and waited_ms <= bound_ms:
            metrics.wait_within_estimate.labels(name).inc()


def _keep(kept: OrderedDict[str, Told], contact_id: str, told: Told) -> None:
    kept[contact_id] = told
    kept.move_to_end(contact_id)
    if len(kept) > KEPT_MAX:
        kept.popitem(last=False)
