"""What the seed makes of a centre: pools, skills, queues with policies, agents."""

from dataclasses import dataclass
from random import Random
from typing import Any
from zlib import crc32

from agent_presence.domain import Profile

POOLS = ("north", "south", "west")
SKILLS = ("billing", "spanish", "repair")
BORROWING = 0.25
"""How many queues borrow agents."""
SCORED = 0.15
"""In so many worlds queues ask scorers."""
CHANNELS = ("voice", "chat", "email", "sms")


@dataclass(slots=True, kw_only=True)
class Scenario:
    """`queues`: values as the administrators' API has them, by id. `faulty`: processes, servers and lines fail."""

    pools: list[str]
    queues: dict[str, dict[str, Any]]
    agents: dict[str, Profile]
    rushed: str = ""
    """A queue to which somebody comes all the time, and that asks a scorer."""
    restless: bool = False
    """Agents sign out, move to another pool and come back all the time."""
    faulty: bool = True


def make_scenario(random: Random) -> Scenario:
    """A small centre."""
    pools = list(POOLS[: random.choice([1, 2, 2, 3])])
    queues: dict[str, dict[str, Any]] = {}
    agents: dict[str, Profile] = {}
    for pool in pools:
        names = [f"{pool}-{number}" for number in range(random.randint(2, 4))]
        for name in names:
            queues[name] = make_queue(random, pool, [one for one in names if one != name])
        for number in range(random.randint(2, 5)):
            agent = make_agent(random, f"{pool}-agent-{number}", pool)
            agents[agent.agent_id] = agent
    return Scenario(pools=pools, queues=queues, agents=agents)


def add_scorers(random: Random, scenario: Scenario) -> None:
    """In some worlds a queue or two ask a scorer, and one of them is rushed."""
    if random.random() > SCORED:
        return
    names = random.sample(sorted(scenario.queues), random.randint(1, 2))
    for name in names:
        choice = {
            "method": "scorer",
            "scorer": random.choice(sorted(SCORERS)),
            "budget_ms": random.choice([100, 1_000]),
        }
        scenario.queues[name]["policy"]["choice"] = choice
    scenario.rushed = names[0]


def restless(scenario: Scenario) -> None:
    """People move from pool to pool all the time, and nothing else goes wrong."""
    scenario.restless, scenario.faulty = True, False


def suits(contact: dict[str, Any], agents: list[dict[str, Any]]) -> dict[str, int]:
    """A scorer: some order of the agents that differs from contact to contact."""
    return {agent["agent_id"]: crc32(f"{contact['contact_id']}/{agent['agent_id']}".encode()) for agent in agents}


def never_in_time(contact: dict[str, Any], agents: list[dict[str, Any]]) -> dict[str, int]:
    """A scorer that takes longer than any budget."""
    return suits(contact, agents)


never_in_time.takes_s = 5.0  # type: ignore[attr-defined]  # see SimulatedLoop.run_in_executor
SCORERS = {"suits": suits, "never_in_time": never_in_time}


def make_queue(random: Random, pool: str, others: list[str]) -> dict[str, Any]:
    """A queue with a policy; `others` are the queues of its pool that it may point at."""
    requirements = [(skill, random.choice([0, 40])) for skill in SKILLS if random.random() < 0.35]
    return {
        "pool": pool,
        "requirements": sorted(requirements),
        "priority": random.choice([0, 0, 5]),
        "offer_timeout_ms": random.choice([2_000, 5_000, 20_000]),
        "wrap_up_ms": random.choice([0, 0, 3_000]),
        "link_grace_ms": random.choice([0, 5_000, 15_000]),
        "service_level_ms": 20_000,
        "policy": make_policy(random, others),
    }


def make_policy(random: Random, others: list[str]) -> dict[str, Any]:
    """Parts of a policy, each with some chance."""
    parts: dict[str, Any] = {}
    if random.random() < 0.3:
        parts["capacity"] = {"units": {random.choice(CHANNELS): random.choice([1, 2, 3, 6])}}
    if random.random() < 0.15:
        parts.setdefault("capacity", {})["interrupts"] = [random.choice(CHANNELS[1:])]
    offers: dict[str, Any] = {}
    if random.random() < 0.3:
        offers["parallel"] = random.randint(2, 3)
    if random.random() < 0.2:
        offers["strikes"] = 2
    if random.random() < 0.3:
        offers["decline_memory_ms"] = random.choice([0, 5_000])
    if offers:
        parts["offers"] = offers
    if random.random() < 0.2:
        parts["micro_batch"] = {"window_ms": 100, "burst": 2}
    if others and random.random() < 0.3:
        condition = random.choice([{"waited_over_ms": 3_000}, {"length_over": 3}, {"unstaffed": True}])
        parts["overflow"] = [{"when": condition, "queue": random.choice(others)}]
    elif random.random() < 0.1:
        parts["overflow"] = [{"when": {"waited_over_ms": 20_000}, "message": "please call again"}]
    if random.random() < 0.15:
        parts["ttl_ms"] = 40_000
    if random.random() < 0.15:
        parts["escalations"] = [{"after_ms": 5_000, "priority": 9}]
    if others and random.random() < BORROWING:
        parts["borrow"] = {"lender": random.choice(others), "when": {"longest_wait_over_ms": 4_000}}
    if random.random() < 0.15:
        parts["choice"] = {"method": random.choice(["round_robin", "least_loaded"])}
    return parts


def make_agent(random: Random, agent_id: str, pool: str) -> Profile:
    """Somebody who can do some of it."""
    return Profile(
        agent_id=agent_id,
        pool=pool,
        skills={skill: random.choice([20, 60, 100]) for skill in SKILLS if random.random() < 0.5},
        units=random.choice([6, 6, 6, 12, 4]),
        enabled=True,
        traits={"channel_max": {"chat": 2}} if random.random() < 0.2 else {},
    )


def make_helper(pool: str) -> Profile:
    """Somebody who can do all of it."""
    return Profile(
        agent_id=f"{pool}-helper",
        pool=pool,
        skills=dict.fromkeys(SKILLS, 100),
        units=60,
        enabled=True,
        traits={},
    )
