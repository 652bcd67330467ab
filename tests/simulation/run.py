"""One seed: trouble, then peace, then the audit. `python -m tests.simulation.run --help`."""

import argparse
import asyncio
import gc
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import structlog

from common.runtime import clock
from common.testing.loop import SimulatedLoop, SimulatedMachine
from tests.simulation.auditor import audit, audit_half_way, is_settled
from tests.simulation.clients import AgentAtHome, Clients, Patience
from tests.simulation.scenario import Scenario, add_scorers, make_helper, make_scenario
from tests.simulation.services import Parts
from tests.simulation.world import Note, World

BEGAN_MS = 1_790_000_000_000
CONTACTS = (15, 45)
TROUBLE_S = (40.0, 120.0)
WITHOUT_HELP_S = 75.0
"""For so long the centre's own agents are alone with what is left; then somebody joins each pool who can do everything."""
PEACE_MAX_S = 400.0
"""Within so long after the last fault everything has ended, or waits for what only a person can give it."""
FROZEN, FROZEN_NOTICED_S = 0.3, 30.0
"""In so many worlds one process never runs again after the trouble; agents whose polls it held lose that long."""


@dataclass(slots=True, kw_only=True)
class Result:
    """What a seed showed."""

    seed: int
    findings: list[str]
    turns: int
    virtual_s: float
    contacts: int
    faults: Counter[str]
    history: list[Note]


def simulate(seed: int, parts: Parts | None = None, shape: Callable[[Scenario], None] | None = None) -> Result:
    """Run the world of a seed from its beginning to its end; the same seed gives the same history.

    `shape` changes what the seed made of the centre, so that what a test is about happens in every world.
    """
    loop = SimulatedLoop(seed)
    before = clock.use(SimulatedMachine(loop, seed, began_ms=BEGAN_MS))
    configured = structlog.get_config()
    try:
        return loop.run_until_complete(_simulate(seed, loop, parts, shape))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        clock.use(before)
        structlog.configure(**configured)
        gc.unfreeze()  # what reigns froze is over


async def _simulate(
    seed: int, loop: SimulatedLoop, parts: Parts | None, shape: Callable[[Scenario], None] | None
) -> Result:
    random = Random(f"scenario/{seed}")
    scenario = make_scenario(random)
    add_scorers(Random(f"scorers/{seed}"), scenario)
    if shape is not None:
        shape(scenario)
    world = World(seed, loop, scenario.pools, parts)
    clients = Clients(world, scenario, seed)
    contacts, trouble_s = random.randint(*CONTACTS), random.uniform(*TROUBLE_S)
    findings: list[str] = []
    try:
        findings += await _play(world, clients, contacts, trouble_s)
    except Patience as why:
        world.wrong(f"a client gave up: {why}")
    finally:
        await clients.stop()
        await world.stop()
    return Result(
        seed=seed,
        findings=[*world.findings, *findings],
        turns=loop.turns,
        virtual_s=loop.time(),
        contacts=len(clients.posted),
        faults=world.faults.counts,
        history=world.history,
    )


async def _play(world: World, clients: Clients, contacts: int, trouble_s: float) -> list[str]:
    """Trouble, peace, and what the auditor found."""
    loop, scenario = world.loop, clients.scenario
    await world.start()
    await clients.define()
    for agent_id in scenario.agents:
        clients.start(AgentAtHome(clients, agent_id).work())
    clients.start(clients.administer())
    clients.start(clients.integrate(contacts, within_s=trouble_s))
    if scenario.rushed:
        clients.start(clients.rush(scenario.rushed))
    await (world.trouble_for(trouble_s) if scenario.faulty else asyncio.sleep(trouble_s))
    clients.calm = True
    calm_s = peace_s = loop.time()
    if not scenario.faulty:
        peace_s = 0.0
    elif world.chance.random() < FROZEN:
        world.freeze_one()
        calm_s = peace_s = peace_s + FROZEN_NOTICED_S
    found = audit_half_way(world)
    await _until_settled(world, clients, calm_s + WITHOUT_HELP_S)
    found += audit_half_way(world)
    for pool in scenario.pools:
        helper = make_helper(pool)
        await clients.put_agent(helper)
        clients.start(AgentAtHome(clients, helper.agent_id).work())
    await _until_settled(world, clients, calm_s + PEACE_MAX_S)
    await asyncio.sleep(max(5.0, calm_s - loop.time()))  # whoever takes over from a frozen leader has to notice first
    world.note("auditor", "looks", peace_s=round(loop.time() - calm_s, 1))
    return [*found, *audit(world, peace_s=peace_s)]


async def _until_settled(world: World, clients: Clients, end_s: float) -> None:
    while (clients.posting or not is_settled(world)) and world.loop.time() < end_s:
        await asyncio.sleep(5.0)


def main() -> int:
    """Replay one seed, or try fresh ones for a while."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one, with its history")
    parser.add_argument("--seconds", type=float, default=120.0, help="try fresh seeds for so long")
    parser.add_argument("--first", type=int, help="the first fresh seed; without it the clock decides")
    parser.add_argument("--about", default="", help="only lines of the history with this text")
    given = parser.parse_args()
    return _replay(given.seed, given.about) if given.seed is not None else _hunt(given.seconds, given.first)


def _replay(seed: int, about: str) -> int:
    result = simulate(seed)
    for note in result.history:
        if about in (line := str(note)):
            print(line)
    _show(result)
    return 1 if result.findings else 0


def _hunt(seconds: float, first: int | None) -> int:
    began_s = time.monotonic()
    seed = first if first is not None else time.time_ns() % 1_000_000_000
    tried = turns = contacts = 0
    virtual_s = 0.0
    faults: Counter[str] = Counter()
    failed: list[int] = []
    while time.monotonic() - began_s < seconds:
        result = simulate(seed)
        tried, turns, contacts = tried + 1, turns + result.turns, contacts + result.contacts
        virtual_s += result.virtual_s
        faults += result.faults
        if result.findings:
            failed.append(seed)
            _show(result)
        seed += 1
    took_s = time.monotonic() - began_s
    print(f"{tried} seeds, {turns} steps, {contacts} contacts, {virtual_s / 3600:.1f} virtual hours in {took_s:.0f} s")
    print("faults: " + ", ".join(f"{kind} {number}" for kind, number in sorted(faults.items())))
    print(f"findings in {len(failed)} seeds: {failed}")
    return 1 if failed else 0


def _show(result: Result) -> None:
    faults, found = sum(result.faults.values()), len(result.findings)
    print(f"seed {result.seed}: {result.turns} steps, {result.contacts} contacts, {faults} faults, {found} findings;")
    print(f"  make replay SEED={result.seed}")
    for finding in result.findings[:12]:
        print(f"  {finding}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
