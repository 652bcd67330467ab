"""Wait estimates held against what comes true in a simulated day: for whoever had to wait and was answered."""

from dataclasses import dataclass

from porchlight_simulator.scenario import Scenario
from porchlight_simulator.world import World
from router.core import State
from router.core.model import decisions, events
from router.core.queries.estimate import estimate

Told = tuple[str, int, int, int]
"""(channel, when, median, 90th percentile)."""


@dataclass(slots=True)
class Judged:
    """Waits of a channel that were estimated, and how many of them were not longer than the median and the 90th percentile."""

    waits: int = 0
    within_p50: int = 0
    within_p90: int = 0

    @property
    def p50(self) -> float:
        """The share within the median: half would be right."""
        return self.within_p50 / self.waits if self.waits else 0.0

    @property
    def p90(self) -> float:
        """The share within the 90th percentile: nine of ten would be right."""
        return self.within_p90 / self.waits if self.waits else 0.0


def foresight(scenario: Scenario, replication: int = 0) -> dict[str, Judged]:
    """By channel, what the first estimates of one replication were worth."""
    listener = _Listener()
    World(scenario, replication, listener=listener.hear).run()
    return listener.judged


class _Listener:
    def __init__(self) -> None:
        self.judged: dict[str, Judged] = {}
        self._told: dict[str, Told] = {}

    def hear(self, state: State, told: events.Input, decided: list[decisions.Output]) -> None:
        """Note an estimate for whoever begins to wait; judge it when an agent has the contact."""
        for output in decided:
            if isinstance(output, decisions.Queued):
                contact = state.contacts.get(output.contact_id)
                if contact is not None and contact.contact_id in state.place_of:
                    found = estimate(state, contact)
                    if found.p50_ms is not None and found.p90_ms is not None:
                        about = (contact.channel, state.now_ms, found.p50_ms, found.p90_ms)
                        self._told[contact.contact_id] = about
            elif isinstance(output, decisions.Accepted) and output.contact_id in self._told:
                channel, at_ms, p50_ms, p90_ms = self._told.pop(output.contact_id)
                waited_ms = state.now_ms - at_ms
                judged = self.judged.setdefault(channel, Judged())
                judged.waits += 1
                judged.within_p50 += waited_ms <= p50_ms
                judged.within_p90 += waited_ms <= p90_ms
