"""Formulas of queueing theory, written from the literature: what the simulator is held against. They call nothing of it."""

from collections.abc import Sequence
from itertools import pairwise
from math import exp


def erlang_b(servers: int, load: float) -> float:
    """Share of contacts lost with `servers` agents and no waiting (Erlang 1917), by the recursion over servers."""
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    """Share of contacts that wait when nobody gives up."""
    blocked = erlang_b(servers, load)
    return blocked / (1 - load / servers * (1 - blocked))


def birth_death(up: Sequence[float], down: Sequence[float]) -> list[float]:
    """Stationary probabilities of a birth-death chain: `up[n]` from n to n+1, `down[n]` from n+1 to n."""
    weights = [1.0]
    for rise, fall in zip(up, down, strict=True):
        weights.append(weights[-1] * rise / fall)
    total = sum(weights)
    return [weight / total for weight in weights]


def erlang_a(servers: int, arrivals: float, service: float, leaving: float) -> dict[str, float]:
    """M/M/c+M: contacts give up at rate `leaving` while they wait (Palm 1957). The chain is cut where it cannot matter."""
    most = servers + round(20 * (arrivals / leaving + servers**0.5 + 20))
    down = [min(n, servers) * service + max(0, n - servers) * leaving for n in range(1, most + 1)]
    chances = birth_death([arrivals] * most, down)
    queue = sum((n - servers) * chance for n, chance in enumerate(chances) if n > servers)
    busy = sum(min(n, servers) * chance for n, chance in enumerate(chances))
    return {
        "p_wait": sum(chance for n, chance in enumerate(chances) if n >= servers),
        "p_abandon": leaving * queue / arrivals,
        "mean_wait_all": queue / arrivals,
        "mean_queue": queue,
        "occupancy": busy / servers,
    }


def mmck(servers: int, room: int, arrivals: float, service: float) -> dict[str, float]:
    """M/M/c with `room` places to wait."""
    most = servers + room
    chances = birth_death([arrivals] * most, [min(n, servers) * service for n in range(1, most + 1)])
    queue = sum((n - servers) * chance for n, chance in enumerate(chances) if n > servers)
    entering = 1 - chances[-1]
    waiting = sum(chance for n, chance in enumerate(chances) if servers <= n < most)
    return {
        "p_block": chances[-1],
        "p_wait_accepted": waiting / entering,
        "mean_queue": queue,
        "mean_wait_accepted": queue / (arrivals * entering),
    }


def erlang_c_waits(servers: int, arrivals: float, service: float, threshold: float) -> dict[str, float]:
    """Waits of M/M/c: exponential with rate c mu - lambda for those who wait."""
    waits, drain = erlang_c(servers, arrivals / service), servers * service - arrivals
    return {
        "p_wait": waits,
        "asa": waits / drain,
        "mean_queue": arrivals * waits / drain,
        "service_level": 1 - waits * exp(-drain * threshold),
        "occupancy": arrivals / service / servers,
    }


def priority_waits(servers: int, arrivals: Sequence[float], service: float) -> list[float]:
    """Mean waits by class, highest first, without interruption (Cobham 1954)."""
    waits = erlang_c(servers, sum(arrivals) / service)
    capacity, sums = servers * service, [0.0]
    for rate in arrivals:
        sums.append(sums[-1] + rate / capacity)
    return [waits / capacity / ((1 - above) * (1 - upto)) for above, upto in pairwise(sums)]


def mg1_wait(arrivals: float, mean: float, second_moment: float) -> float:
    """Mean wait of M/G/1 (Pollaczek 1930, Khinchine 1932)."""
    return arrivals * second_moment / 2 / (1 - arrivals * mean)
