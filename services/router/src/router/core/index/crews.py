"""How many contacts of a kind the agents of a set of profiles can have at a time, without looking at each of them.

Signed-in agents are counted by class (units and channel limits): for each class a few sets of profiles are the binary digits
of how many agents of the class each profile has, so that a sum over any set of profiles is a handful of steps.
"""

from router.core.index.state import CrewClass, State
from router.core.model.agent import Agent
from router.core.rules.capacity import Demand

CLASSES_MAX = 64
"""Classes that are told apart; beyond it the channel limits of the agents in new ones are not looked at."""


def count_agent(state: State, agent: Agent) -> None:
    """Bring the count up to date with the agent's profile, capacity and presence."""
    profile = state.profile_of[agent.agent_id]
    ready = agent.routing_state == "ready"
    there = ready or agent.presence != "offline"
    before = state.counted.get(agent.agent_id)
    if before is not None:
        kind = before[1]
        if there and before[0] is profile and kind[1:] == (ready, agent.units, agent.channel_max):
            return
        _uncount(state, agent.agent_id)
    if not there:
        return
    crew = (0, ready, agent.units, agent.channel_max)
    if crew not in state.crews and len(state.crews) >= CLASSES_MAX:
        crew = (1, ready, agent.units, ())
    state.counted[agent.agent_id] = (profile, crew)
    digits = state.crews.setdefault(crew, [])
    bit = 1 << profile.no
    place = 0
    while place < len(digits) and digits[place] & bit:
        digits[place] ^= bit
        place += 1
    if place == len(digits):
        digits.append(0)
    digits[place] |= bit


def _uncount(state: State, agent_id: str) -> None:
    """The agent leaves its profile or its class, or is gone."""
    before = state.counted.pop(agent_id, None)
    if before is None:
        return
    profile, crew = before
    digits = state.crews[crew]
    bit = 1 << profile.no
    place = 0
    while not digits[place] & bit:
        digits[place] |= bit
        place += 1
    digits[place] ^= bit
    while digits and not digits[-1]:
        digits.pop()
    if not digits:
        del state.crews[crew]


def capacity_of(state: State, able: int, demand: Demand) -> tuple[int, int]:
    """(agents, contacts at a time) of the profiles; of the ready ones, and only where there are none of all signed-in ones."""
    found = _capacity(state, able, demand, ready=True)
    return found if found[0] else _capacity(state, able, demand, ready=False)


def _capacity(state: State, able: int, demand: Demand, *, ready: bool) -> tuple[int, int]:
    agents, contacts = 0, 0
    for crew, digits in state.crews.items():
        if crew[1] is not ready:
            continue
        number, weight = 0, 1
        for digit in digits:
            number += (digit & able).bit_count() * weight
            weight += weight
        if number:
            agents += number
            contacts += number * _at_a_time(crew, demand)
    return agents, contacts


def _at_a_time(crew: CrewClass, demand: Demand) -> int:
    """How many contacts of the kind one agent of the class can have."""
    most = crew[2] // demand.units
    if demand.exceed:
        most = max(most, 1)
    for channel, limit in crew[3]:
        if channel == demand.channel:
            most = min(most, limit)
    return most
