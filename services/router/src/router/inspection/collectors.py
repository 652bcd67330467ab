"""Figures of the state in memory, worked out when Prometheus asks: who waits, and how the agents are."""

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from common.runtime.clock import Clock
from router.core.index.state import State
from router.core.model.contact import ContactState
from router.sharding.worker import Shard

QUEUES_MAX = 500
"""Queues that have figures of their own; the rest is counted as `other`."""
WAITING = (ContactState.QUEUED, ContactState.OFFERED)
"""Whoever has nobody yet: while it rings, too."""
OTHER = "other"


class StateFigures(Collector):
    """Of the shards that this instance owns. Walks over contacts and agents once a scrape: a microsecond each."""

    def __init__(self, shards: Mapping[int, Shard], clock: Clock) -> None:
        self._shards = shards
        self._clock = clock

    def describe(self) -> list[GaugeMetricFamily]:
        """What there is, without asking the state."""
        return list(_families())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The figures of this moment."""
        waiting, oldest, agents, link, live = _families()
        now_ms = self._clock.now_ms()
        named = 0
        for shard in list(self._shards.values()):
            if not shard.is_ready:
                continue
            state = shard.state
            counts, eldest = _waiting(state)
            for queue_id in sorted(state.queues):
                named += 1
                label = queue_id if named <= QUEUES_MAX else OTHER
                waiting.add_metric([label], counts[queue_id])
                since = eldest.get(queue_id)
                oldest.add_metric([label], 0.0 if since is None else max(0, now_ms - since) / 1000)
            for (pool, presence, routing), number in sorted(_agents(state).items()):
                agents.add_metric([pool, presence, routing], number)
            for (pool, level), number in sorted(_links(state).items()):
                link.add_metric([pool, level], number)
            for contact_state, number in sorted(Counter(c.state.value for c in state.contacts.values()).items()):
                live.add_metric([str(shard.reign.shard), contact_state], number)
        yield from (waiting, oldest, agents, link, live)


def _families() -> tuple[GaugeMetricFamily, ...]:
    return (
        GaugeMetricFamily("router_waiting_contacts", "Contacts that wait, by queue", labels=["queue"]),
        GaugeMetricFamily("router_oldest_wait_seconds", "Age of the oldest contact that waits", labels=["queue"]),
        GaugeMetricFamily(
            "router_agents",
            "Agents by what they say and what they may be asked",
            labels=["pool", "presence", "routing_state"],
        ),
        GaugeMetricFamily(
            "router_agents_by_link", "Signed-in agents by the quality of their line", labels=["pool", "link"]
        ),
        GaugeMetricFamily("router_live_contacts", "Contacts in memory, by state", labels=["shard", "state"]),
    )


def _waiting(state: State) -> tuple[Counter[str], dict[str, int]]:
    counts: Counter[str] = Counter()
    eldest: dict[str, int] = {}
    for contact in state.contacts.values():
        if contact.state not in WAITING:
            continue
        counts[contact.queue_id] += 1
        since = eldest.get(contact.queue_id)
        if since is None or contact.routing_age_at_ms < since:
            eldest[contact.queue_id] = contact.routing_age_at_ms
    return counts, eldest


def _agents(state: State) -> Counter[tuple[str, str, str]]:
    return Counter((one.pool, one.presence, one.routing_state) for one in state.agents.values())


def _links(state: State) -> Counter[tuple[str, str]]:
    levels: Counter[tuple[str, str]] = Counter()
    for agent in state.agents.values():
        if agent.presence != "offline":
            score = agent.link_score
            levels[agent.pool, "good" if score >= 70 else "fair" if score >= 40 else "poor"] += 1
    return levels
