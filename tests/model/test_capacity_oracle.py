"""Random policies against a naive count of capacity: agents' own pictures and the queues' words, nothing of the core's."""

import random
from collections import defaultdict
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.contracts.policies import QueuePolicy
from router.core import State, step
from router.core.invariants import check
from router.core.model import decisions, events
from tests.model.test_any_policy import AGENTS, Player, rebuilt
from tests.support.builders import queue

USUAL = {"voice": 6, "callback": 6, "chat": 2, "email": 1}
PARTS: list[dict[str, Any]] = [
    {"capacity": {"units": {"voice": 12, "chat": 3}}},
    {"capacity": {"units": {"callback": 1, "email": 4}, "interrupts": ["email"]}},
    {"capacity": {"interrupts": ["chat", "email"]}},
    {"capacity": {"exceed": True}},
    {"overflow": [{"when": {"waited_over_ms": 2_000}, "queue": "next"}]},
    {"overflow": [{"when": {"waited_over_ms": 2_000}, "callback": True}]},
    {"offers": {"parallel": 3}, "micro_batch": {"window_ms": 100, "burst": 2}},
    {"steps": [{"need": {"skill": "es", "min_level": 60}, "expires_ms": 3_000}]},
]


class Onlooker:
    """Counts what every agent has in hand, by what was told and said."""

    def __init__(self) -> None:
        self.units: dict[str, int] = {}
        self.policies: dict[str, QueuePolicy] = {}
        self.versions: dict[str, int] = defaultdict(int)
        self.taken: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
        self.channel: dict[str, str] = {}

    def told(self, one: events.Input) -> None:
        if isinstance(one, events.AgentSeen):
            self.units[one.agent_id] = one.units
        elif isinstance(one, events.QueueSet) and one.queue.version > self.versions[one.queue.queue_id]:
            self.versions[one.queue.queue_id] = one.queue.version
            self.policies[one.queue.queue_id] = one.queue.policy

    def heard(self, one: Any) -> None:
        if isinstance(one, decisions.Offered):
            self.channel[one.contact_id] = one.channel
        if isinstance(one, (decisions.Offered, decisions.Resumed)):
            self._judge(one, self.channel[one.contact_id])
        elif isinstance(one, (*decisions.RELEASES, decisions.Paused)):
            self.taken[one.agent_id].pop(one.contact_id, None)

    def _judge(self, one: Any, channel: str) -> None:
        capacity, units = self.policies[one.queue_id].capacity, len(one.unit_numbers)
        assert units == (capacity.units.get(channel) or USUAL[channel]), f"{one.contact_id} takes {units} units"
        has = self.units[one.agent_id]
        counted = sum(n for name, n in self.taken[one.agent_id].values() if name not in capacity.interrupts)
        used = sum(n for _, n in self.taken[one.agent_id].values()) + units
        fits = counted + units <= has or (capacity.exceed and counted <= has)
        assert fits, f"{one.agent_id} has {used} units in use, of {has}"
        assert bool(one.over) == (used > has), f"{one.contact_id}: {one.over!r} with {used} of {has}"
        self.taken[one.agent_id][one.contact_id] = (channel, units)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**9))
def test_nobody_ever_has_more_than_the_policies_allow(seed: int) -> None:
    source, player, onlooker, state = random.Random(seed), Player(seed), Onlooker(), State()
    versions = {"billing": 10, "next": 10, "other": 10}

    def policy() -> events.Input:
        name = source.choice(sorted(versions))
        versions[name] += 1
        said: dict[str, Any] = {}
        for part in source.sample(PARTS, source.randint(0, 3)):
            said.update(part if name == "billing" else {key: part[key] for key in part if key != "overflow"})
        values = msgspec.convert(said, QueuePolicy)
        return events.QueueSet(queue=queue(name, version=versions[name], policy=values))

    told: list[events.Input] = [*player.begin(), events.QueueSet(queue=queue("next"))]
    for _ in range(140):
        one = told.pop(0) if told else policy() if source.random() < 0.08 else player.next()
        said = step(state, events.Ticked(), player.now_ms)  # what is due comes before what is told
        for output in said:
            onlooker.heard(output)
        player.hear(said)
        onlooker.told(one)
        said = step(state, one, player.now_ms)
        check(state)
        for output in said:
            onlooker.heard(output)
        player.hear(said)
        state.to_score.clear()
        if source.random() < 0.02:
            state = rebuilt(state)
    assert set(onlooker.units) == set(AGENTS)
