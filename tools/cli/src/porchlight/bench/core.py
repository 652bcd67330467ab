"""Benchmarks of the routing core: one process, no I/O. Figures are ratios to a floor measured in the same run."""

import gc
import heapq
import json
import platform
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from common.contracts.policies import Need, Offers, Order, QueuePolicy
from porchlight_simulator.scenario import Scenario
from porchlight_simulator.validation.exact_cases import erlang_c
from porchlight_simulator.world import World
from router.core import State, decide, engine, step
from router.core.model import events
from router.core.model.agent import Agent
from router.core.model.contact import Contact
from router.core.model.queue import Queue
from router.core.restore import restore

SIZES = ((1_000, 200), (10_000, 2_000), (100_000, 20_000))
SKILLS, SKILLS_OF_AN_AGENT = 50, 3
CHUNK, CHUNKS, ROUNDS = 100, 15, 9
"""Decisions timed at a stretch, stretches in a round, rounds of which the best counts."""
PAGE_BYTES = 4_096
SIMULATED = {"inputs": {"servers": 12, "arrival_rate": 4.2, "service_rate": 0.5}, "outputs": {}}


class Floor:
    """The same loop, doing only what cannot be left out: pop the next contact from a heap, note who has it in a dictionary."""

    def __init__(self, waiting: int) -> None:
        self._heap = [(0, number, f"c{number}") for number in range(waiting)]
        self._next = waiting
        self._has: dict[str, str] = {}

    def decide(self, agents: Sequence[str]) -> float:
        heap, has, pop = self._heap, self._has, heapq.heappop
        started = perf_counter()
        for agent in agents:
            has[agent] = pop(heap)[2]
        taken = perf_counter() - started
        for _ in agents:
            self._next += 1
            heapq.heappush(heap, (0, self._next, f"c{self._next}"))
        return taken


class Subject:
    """The core with so many waiting contacts and busy agents: each decision is an agent who becomes free and is offered one."""

    def __init__(self, waiting: int, agents: int, tell: Callable[[State, events.Input, int], Any]) -> None:
        self._random = Random(7)  # noqa: S311 # the same every time
        self._tell = tell
        self.state = State()
        self._now, self._number = 1, 0
        policy = QueuePolicy(offers=Offers(auto_accept=True))
        decide(self.state, events.QueueSet(queue=_queue(policy)), self._now)
        self.agents = [f"a{number:05d}" for number in range(agents)]
        for name in self.agents:
            skills = sorted(self._random.sample(range(SKILLS), SKILLS_OF_AN_AGENT))
            decide(self.state, _agent(name, skills), self._now)
        while len(self.state.slots) > 0 or len(self.state.place_of) < waiting:
            self._arrive()
        self._forget()

    def decide(self, agents: Sequence[str]) -> float:
        """Time of the steps in which these agents become free, each with one offer."""
        told = []
        for name in agents:
            (contact_id,) = self.state.agents[name].work
            holding = self.state.contacts[contact_id].holding
            assert holding is not None, contact_id
            told.append(_complete(name, contact_id, holding.attempt))
        before = len(self.state.place_of)
        now, state, tell = self._now, self.state, self._tell
        started = perf_counter()
        for one in told:
            tell(state, one, now)
        taken = perf_counter() - started
        offered = before - len(state.place_of)
        assert offered == len(agents), f"{offered} offers for {len(agents)} agents"
        for _ in agents:
            self._arrive()
        self._forget()
        return taken

    def _arrive(self) -> None:
        self._number += 1
        self._now += 1
        skill = self._random.randrange(SKILLS)
        arrived = events.ContactArrived(
            contact_id=f"c{self._number:09d}",
            queue_id="q",
            pool="p",
            channel="voice",
            priority=0,
            accepted_at_ms=self._now,
            need=NEEDS[skill],
        )
        decide(self.state, arrived, self._now)

    def _forget(self) -> None:
        for notes in (self.state.touched_contacts, self.state.touched_agents, self.state.fresh):
            notes.clear()


NEEDS = [Need(skill=f"s{number:02d}") for number in range(SKILLS)]


def _queue(policy: QueuePolicy) -> Queue:
    return Queue(
        queue_id="q",
        pool="p",
        version=1,
        priority=0,
        offer_timeout_ms=20_000,
        wrap_up_ms=0,
        link_grace_ms=15_000,
        service_level_ms=20_000,
        policy=policy,
    )


def _agent(name: str, skills: Sequence[int]) -> events.AgentSeen:
    return events.AgentSeen(
        agent_id=name,
        pool="p",
        session_no=1,
        seq=1,
        presence="available",
        skills=tuple((f"s{one:02d}", 60) for one in skills),
        units=6,
        link_lost=False,
    )


def _complete(agent: str, contact_id: str, attempt: int) -> events.AgentAsked:
    return events.AgentAsked(
        verb="complete",
        command_id=contact_id,
        agent_id=agent,
        pool="p",
        session_no=1,
        contact_id=contact_id,
        attempt=attempt,
    )


def run(*, json_to: Path | None, console: Console) -> None:
    """Measure everything, show it, and write it to `json_to`."""
    sizes = _sizes()
    found = {
        "python": platform.python_version(),
        "core": "machine code" if engine.__file__.endswith(".so") else "Python",
        "msgspec": msgspec.__version__,
        "sizes": sizes,
        "growth": sizes[-1]["step_us"] / sizes[0]["step_us"],
        "rebuild": _rebuild(*SIZES[-1]),
        "policy_change": _policy_change(*SIZES[-1]),
        "memory": _memory(*SIZES[-1]),
        "simulator": _simulator(),
    }
    if json_to is not None:
        json_to.write_text(json.dumps(found, indent=1) + "\n")
    _show(found, console)


def _sizes() -> list[dict[str, float]]:
    """All sizes side by side, stretch by stretch, so that what else the machine does hits them alike."""
    tables = [(Subject(w, a, step), Subject(w, a, decide), Floor(w)) for w, a in SIZES]
    gc.collect()
    gc.freeze()  # as a shard does after its rebuild
    best = [{"step": float("inf"), "decide": float("inf"), "floor": float("inf")} for _ in SIZES]
    source = Random(11)  # noqa: S311 # the same every time
    for _ in range(ROUNDS):
        taken = [dict.fromkeys(one, 0.0) for one in best]
        for _ in range(CHUNKS):
            for (whole, bare, floor), times in zip(tables, taken, strict=True):
                chosen = source.sample(whole.agents, CHUNK)
                times["floor"] += floor.decide(chosen)
                times["step"] += whole.decide(chosen)
                times["decide"] += bare.decide(chosen)
        best = [{name: min(one[name], times[name]) for name in one} for one, times in zip(best, taken, strict=True)]
    gc.unfreeze()
    return [_ratios(waiting, agents, one) for (waiting, agents), one in zip(SIZES, best, strict=True)]


def _ratios(waiting: int, agents: int, best: dict[str, float]) -> dict[str, float]:
    each_us = {name: value / (CHUNK * CHUNKS) * 1e6 for name, value in best.items()}
    return {
        "waiting": waiting,
        "agents": agents,
        "step_us": each_us["step"],
        "decide_us": each_us["decide"],
        "floor_us": each_us["floor"],
        "offers_per_s": 1e6 / each_us["step"],
        "ratio": each_us["step"] / each_us["floor"],
        "ratio_without_checks": each_us["decide"] / each_us["floor"],
    }


def _rebuild(waiting: int, agents: int) -> dict[str, float]:
    """From the rows' JSON, as the ledger reads it, to a state that can decide."""
    state = Subject(waiting, agents, decide).state
    contacts = [msgspec.json.encode(one) for one in state.contacts.values()]
    crew = [msgspec.json.encode(one) for one in state.agents.values()]
    read_contact, read_agent = msgspec.json.Decoder(Contact).decode, msgspec.json.Decoder(Agent).decode
    best = float("inf")
    for _ in range(ROUNDS):
        gc.collect()
        gc.disable()  # as the ledger does
        started = perf_counter()
        again = restore(
            queues=list(state.queues.values()),
            agents=[read_agent(one) for one in crew],
            contacts=[read_contact(one) for one in contacts],
            ended={},
            now_ms=state.now_ms,
        )
        best = min(best, perf_counter() - started)
        gc.enable()
    assert len(again.place_of) == len(state.place_of), "the rebuilt state is another one"
    return {"contacts": len(contacts), "agents": len(crew), "seconds": best}


def _policy_change(waiting: int, agents: int) -> dict[str, float]:
    """A new policy for the queue in which all of them wait: the time of the one step in which they follow it."""
    subject = Subject(waiting, agents, decide)
    best = float("inf")
    for version in range(2, 2 + ROUNDS):
        order = Order(method="slack" if version % 2 else "priority")
        policy = QueuePolicy(offers=Offers(auto_accept=True), order=order, ttl_ms=version * 10**9)
        changed = msgspec.structs.replace(_queue(policy), version=version)
        started = perf_counter()
        decide(subject.state, events.QueueSet(queue=changed), subject.state.now_ms)
        best = min(best, perf_counter() - started)
        subject._forget()
    assert len(subject.state.place_of) == waiting, "contacts were lost"
    return {"waiting": waiting, "seconds": best}


def _memory(waiting: int, agents: int) -> dict[str, float]:
    gc.collect()
    empty = _resident_bytes()
    few = Subject(agents, agents, decide)
    with_agents = _resident_bytes()
    many = len(few.state.contacts)
    while len(few.state.place_of) < waiting:
        few._arrive()
    few._forget()
    full = _resident_bytes()
    per_contact = (full - with_agents) / (len(few.state.contacts) - many)
    return {
        "bytes_per_waiting_contact": per_contact,
        "bytes_per_agent_with_a_contact": (with_agents - empty - per_contact * agents) / agents,
    }


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def _simulator() -> dict[str, float]:
    (trial,) = erlang_c(SIMULATED)
    scenario: Scenario = msgspec.structs.replace(trial.scenario, contacts=20_000, warm_up=0, start_busy=False)
    mine = floor = float("inf")
    for _ in range(ROUNDS):
        started = perf_counter()
        World(scenario, 0).run()
        mine = min(mine, perf_counter() - started)
        started = perf_counter()
        _bare_loop(20_000)
        floor = min(floor, perf_counter() - started)
    return {"contacts_per_s": 20_000 / mine, "bare_contacts_per_s": 20_000 / floor, "ratio": floor / mine}


def _bare_loop(contacts: int) -> float:
    """M/M/12 by a heap of events and nothing else."""
    source = Random(1)  # noqa: S311 # the same every time
    heap = [(source.expovariate(4.2), False)]
    free, done, waited = 12, 0, 0.0
    line: deque[float] = deque()
    while done < contacts:
        now, ends = heapq.heappop(heap)
        if not ends:
            heapq.heappush(heap, (now + source.expovariate(4.2), False))
            if free:
                free -= 1
                heapq.heappush(heap, (now + source.expovariate(0.5), True))
            else:
                line.append(now)
        else:
            done += 1
            if line:
                waited += now - line.popleft()
                heapq.heappush(heap, (now + source.expovariate(0.5), True))
            else:
                free += 1
    return waited


def _show(found: dict[str, Any], console: Console) -> None:
    versions = f"Python {found['python']}, msgspec {found['msgspec']}, core as {found['core']}"
    table = Table(title=f"{versions}: one decision, best of {ROUNDS}")
    for column in ("waiting", "agents", "µs", "µs without checks", "floor µs", "offers/s", "times the floor"):
        table.add_column(column, justify="right")
    for one in found["sizes"]:
        table.add_row(
            f"{one['waiting']:,}",
            f"{one['agents']:,}",
            f"{one['step_us']:.1f}",
            f"{one['decide_us']:.1f}",
            f"{one['floor_us']:.2f}",
            f"{one['offers_per_s']:,.0f}",
            f"{one['ratio']:.1f} ({one['ratio_without_checks']:.1f})",
        )
    console.print(table)
    rebuild, memory, simulator = found["rebuild"], found["memory"], found["simulator"]
    waiting = found["policy_change"]
    console.print(f"largest to smallest: {found['growth']:.2f} times the time of a decision")
    console.print(
        f"rebuild of {rebuild['contacts']:,} contacts, {rebuild['agents']:,} agents: {rebuild['seconds']:.2f} s"
    )
    console.print(f"policy change for {waiting['waiting']:,} waiting contacts: {waiting['seconds']:.2f} s")
    console.print(
        f"memory: {memory['bytes_per_waiting_contact']:,.0f} bytes a waiting contact,"
        f" {memory['bytes_per_agent_with_a_contact']:,.0f} an agent"
    )
    console.print(
        f"simulator: {simulator['contacts_per_s']:,.0f} contacts/s, bare event loop"
        f" {simulator['bare_contacts_per_s']:,.0f}: {simulator['ratio']:.3f}"
    )
