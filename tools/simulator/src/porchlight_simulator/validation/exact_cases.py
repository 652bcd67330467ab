"""Queueing cases with known answers as scenarios, family by family. The file's format is in docs/simulation.md."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, sqrt
from typing import Any

from common.contracts.policies import Choice, Condition, Offers, Overflow, QueuePolicy
from porchlight_simulator.scenario import AgentSpec, Draw, QueueSpec, Scenario, Stream
from porchlight_simulator.statistics import Row

AT_ONCE = Offers(auto_accept=True)
TICKS = 1_000_000
"""Ticks of the core's clock in one unit of time, so that rounding is far below any figure."""
CONTACTS, ENOUGH, CONTACTS_MAX = 1_800, 4_500, 25_000
"""Measured contacts of one replication: at least the first, 45 an agent up to the second, more when the system is slow to
forget, at most the third."""
REPLICATIONS = 14

Rows = Mapping[str, Row]
Measure = Callable[[Rows], float]


class UnknownCase(ValueError):
    """A family, a rule or a distribution that is not known, or an input that is missing."""


@dataclass(frozen=True, slots=True)
class Check:
    """A value that the simulation is to reproduce. `half95`: how far the reference itself may be off, at 95 %.

    `counted`: where the value is a share of contacts times a factor, (the count's name, the factor): few events need another
    interval than a mean.
    """

    name: str
    exact: float
    measure: Measure
    half95: float = 0.0
    counted: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """A scenario and what it is to show."""

    scenario: Scenario
    checks: tuple[Check, ...]

    def controls(self, found: Rows) -> list[float]:
        """How far a replication's arrivals and handle times were from what is to be expected; none for a finite day."""
        streams = self.scenario.arrivals
        if self.scenario.contacts is None:
            return []
        rate = sum(one.rate or 0.0 for one in streams)
        handle = sum((one.rate or 0.0) * _mean(one.handle) for one in streams) / rate
        return [found["all"]["arrival_rate"] / rate - 1, found["all"]["mean_drawn"] / handle - 1]


def of(who: str, name: str, factor: float = 1.0) -> Measure:
    """A figure of `all`, a stream or a crew."""
    return partial(_of, who, name, factor)


def _of(who: str, name: str, factor: float, found: Rows) -> float:
    return found[who][name] * factor


COUNTED = {"p_block": ("blocked", 1.0), "block_pct": ("blocked", 100.0)}
"""Values that are shares of contacts that something rare happened to."""


def _checks(outputs: Mapping[str, Any], names: Mapping[str, Measure]) -> tuple[Check, ...]:
    return tuple(check_of(name, outputs[name], measure) for name, measure in names.items() if name in outputs)


def check_of(name: str, value: Any, measure: Measure) -> Check:
    """The check of a value as it stands in a case file: a number, or [mean, half width at 95 %]."""
    mean, half95 = (float(value[0]), float(value[1])) if isinstance(value, list) else (float(value), 0.0)
    return Check(name, mean, measure, half95, COUNTED.get(name))


def steady(
    *,
    queues: Mapping[str, QueuePolicy],
    agents: Sequence[AgentSpec],
    streams: Sequence[Stream],
    threshold: float = 0.0,
    bounded: bool = False,
) -> Scenario:
    """A scenario in its steady state. `bounded`: contacts are lost or give up, so that it forgets its past quickly."""
    count = sum(one.count for one in agents)
    speed = sum(one.count * one.speed for one in agents)
    load = sum((one.rate or 0.0) * _mean(one.handle) for one in streams) / speed
    memory = 10.0 * count if bounded or load >= 1 else load / (1 - sqrt(load)) ** 2
    if not bounded and len(agents) > 1:
        memory *= len(streams)  # each stream has only a part of the agents
    return Scenario(
        queues={name: QueueSpec(policy=policy) for name, policy in queues.items()},
        agents=tuple(agents),
        arrivals=tuple(streams),
        contacts=min(CONTACTS_MAX, max(CONTACTS, min(45 * count, ENOUGH), round(1.3 * memory))),
        warm_up=min(CONTACTS_MAX // 2, round(400 + 2 * count + 2 * memory)),
        start_busy=True,
        threshold=threshold,
        replications=REPLICATIONS,
        scale=TICKS,
    )


def _mean(draw: Draw) -> float:
    if draw.exponential is not None:
        return draw.exponential
    if draw.erlang is not None:
        return draw.erlang[1]
    return draw.constant or 0.0


def _one_pool(
    servers: int,
    rate: float,
    service_rate: float,
    *,
    patience: float | None = None,
    threshold: float = 0.0,
    **policy: Any,
) -> Scenario:
    return steady(
        queues={"q": QueuePolicy(offers=AT_ONCE, **policy)},
        agents=[AgentSpec(name="a", count=servers)],
        streams=[
            Stream(
                name="x",
                queue="q",
                rate=rate,
                handle=Draw(exponential=1 / service_rate),
                patience=None if patience is None else Draw(exponential=1 / patience),
            )
        ],
        threshold=threshold,
        bounded=patience is not None or bool(policy),
    )


LOSS = (Overflow(when=Condition(all_busy=True), message="busy"),)


def erlang_b(case: Mapping[str, Any]) -> list[Trial]:
    given = case["inputs"]
    scenario = _one_pool(given["servers"], given["offered_load"], 1.0, overflow=LOSS)
    names = {
        "p_block": of("all", "share_blocked"),
        "carried": of("all", "busy"),
        "utilisation": of("all", "occupancy"),
    }
    return [Trial(scenario, _checks(case["outputs"], names))]


C_NAMES = {
    "offered_load": of("all", "handled"),
    "occupancy": of("all", "occupancy"),
    "p_wait": of("all", "share_waiting"),
    "asa": of("all", "asa"),
    "mean_wait_if_wait": of("all", "mean_wait_if_waiting"),
    "mean_queue": of("all", "mean_queue"),
    "service_level": of("all", "service_level"),
    "p90_wait": of("all", "p90_wait"),
}


def erlang_c(case: Mapping[str, Any]) -> list[Trial]:
    given = case["inputs"]
    scenario = _one_pool(
        given["servers"], given["arrival_rate"], given["service_rate"], threshold=given.get("threshold", 0.0)
    )
    return [Trial(scenario, _checks(case["outputs"], C_NAMES))]


def staffing(case: Mapping[str, Any]) -> list[Trial]:
    given, wanted = case["inputs"], case["outputs"]
    rate, service = given["calls"] / given["interval_s"], 1 / given["aht_s"]
    enough = _one_pool(wanted["min_servers"], rate, service, threshold=given["threshold_s"])
    fewer = _one_pool(wanted["min_servers"] - 1, rate, service, threshold=given["threshold_s"])
    one_less = Check("service_level_one_less", wanted["service_level_one_less"], of("all", "service_level"))
    return [Trial(enough, _checks(wanted, C_NAMES)), Trial(fewer, (one_less,))]


def mmck(case: Mapping[str, Any]) -> list[Trial]:
    given = case["inputs"]
    room = {"length_max": given["waiting_room"]} if given["waiting_room"] else {"overflow": LOSS}
    scenario = _one_pool(given["servers"], given["arrival_rate"], given["service_rate"], **room)
    names = {
        "p_block": of("all", "share_blocked"),
        "p_wait_accepted": of("all", "share_waiting"),
        "mean_queue": of("all", "mean_queue"),
        "mean_wait_accepted": of("all", "mean_wait"),
        "utilisation": of("all", "occupancy"),
    }
    return [Trial(scenario, _checks(case["outputs"], names))]


A_NAMES = {
    "p_wait": of("all", "share_waiting"),
    "p_abandon": of("all", "share_abandoned"),
    "mean_wait_all": of("all", "mean_wait"),
    "mean_wait_served": of("all", "asa"),
    "mean_wait_abandoned": of("all", "mean_wait_abandoned"),
    "mean_queue": of("all", "mean_queue"),
    "occupancy": of("all", "occupancy"),
    "served_within_T": of("all", "service_level"),
    "served_within_T_of_served": of("all", "service_level_of_answered"),
    "abandoned_within_T": of("all", "abandoned_in_time"),
}


def erlang_a(case: Mapping[str, Any]) -> list[Trial]:
    given = case["inputs"]
    scenario = _one_pool(
        given["servers"],
        given["arrival_rate"],
        given["service_rate"],
        patience=given["abandon_rate"],
        threshold=given.get("threshold", 0.0),
    )
    return [Trial(scenario, _checks(case["outputs"], A_NAMES))]


def large(case: Mapping[str, Any]) -> list[Trial]:
    """Halfin and Whitt, Garnett and others: the exact finite value is reproduced; the limit is not a system's value."""
    given = case["inputs"]
    scenario = _one_pool(given["check_servers"], given["check_offered_load"], 1.0, patience=given.get("theta_over_mu"))
    names = {"exact_p_wait": of("all", "share_waiting"), "exact_p_abandon": of("all", "share_abandoned")}
    return [Trial(scenario, _checks(case["outputs"], names))]


def _classes(rates: Sequence[float], handles: Sequence[Draw], servers: int) -> Scenario:
    streams = [
        Stream(name=f"p{place}", queue="q", rate=rate, priority=len(rates) - place, handle=handle)
        for place, (rate, handle) in enumerate(zip(rates, handles, strict=True))
    ]
    return steady(
        queues={"q": QueuePolicy(offers=AT_ONCE)}, agents=[AgentSpec(name="a", count=servers)], streams=streams
    )


def priorities(case: Mapping[str, Any]) -> list[Trial]:
    given, wanted = case["inputs"], case["outputs"]
    rates = given["arrival_rates_high_to_low"]
    scenario = _classes(rates, [Draw(exponential=1 / given["service_rate"])] * len(rates), given["servers"])
    weights = [rate / given["service_rate"] for rate in rates]
    checks = _checks(wanted, {"p_wait": of("all", "share_waiting"), "mean_wait_all": of("all", "mean_wait")})
    checks += tuple(
        Check(f"mean_waits[{place}]", value, of(f"p{place}", "mean_wait"))
        for place, value in enumerate(wanted["mean_waits"])
    )
    if "conserved_sum_rho_w" in wanted:
        checks += (Check("conserved_sum_rho_w", wanted["conserved_sum_rho_w"], partial(_conserved, weights)),)
    return [Trial(scenario, checks)]


def _conserved(weights: Sequence[float], found: Rows) -> float:
    return sum(weight * found[f"p{place}"]["mean_wait"] for place, weight in enumerate(weights))


def _handle(dist: str, mean: float) -> Draw:
    if dist == "exp":
        return Draw(exponential=mean)
    if dist == "det":
        return Draw(constant=mean)
    if dist.startswith("erl") and dist[3:].isdigit():
        return Draw(erlang=(int(dist[3:]), mean))
    raise UnknownCase(f"dist {dist!r} is not exp, det or erlK")


def priorities_mg1(case: Mapping[str, Any]) -> list[Trial]:
    given, wanted = case["inputs"], case["outputs"]
    classes = given["classes_high_to_low"]
    handles = [_handle(one["dist"], one["mean_service"]) for one in classes]
    scenario = _classes([one["arrival_rate"] for one in classes], handles, given["servers"])
    checks = tuple(
        Check(f"mean_waits[{place}]", value, of(f"p{place}", "mean_wait"))
        for place, value in enumerate(wanted["mean_waits"])
    )
    return [Trial(scenario, checks + _checks(wanted, {"utilisation": of("all", "occupancy")}))]


def mg1(case: Mapping[str, Any]) -> list[Trial]:
    given = case["inputs"]
    scenario = _classes([given["arrival_rate"]], [_handle(given["dist"], given["mean_service"])], 1)
    names = {"mean_wait": of("all", "mean_wait"), "utilisation": of("all", "occupancy")}
    return [Trial(scenario, _checks(case["outputs"], names))]


def ordered_hunt(case: Mapping[str, Any]) -> list[Trial]:
    given = case["inputs"]
    policy = QueuePolicy(offers=AT_ONCE, overflow=LOSS, choice=Choice(method="most_skilled"))
    agents = [AgentSpec(name=f"a{n:03d}", skills={"hunt": 100 - n}) for n in range(given["servers"])]
    stream = Stream(name="x", queue="q", rate=given["offered_load"], handle=Draw(exponential=1.0), skills={"hunt": 0})
    scenario = steady(queues={"q": policy}, agents=agents, streams=[stream], bounded=True)
    checks = tuple(
        Check(f"utilisation_by_agent[{n}]", value, of(f"crew a{n:03d}", "occupancy"))
        for n, value in enumerate(case["outputs"]["utilisation_by_agent"])
    )
    return [Trial(scenario, checks)]


def overflow_moments(case: Mapping[str, Any]) -> list[Trial]:
    given = case["inputs"]
    load = given["offered_load"]
    second = ceil(load + 12 * sqrt(load) + 10)
    scenario = steady(
        queues={
            "first": QueuePolicy(offers=AT_ONCE, overflow=(Overflow(when=Condition(all_busy=True), queue="second"),)),
            "second": QueuePolicy(offers=AT_ONCE),
        },
        agents=[
            AgentSpec(name="one", count=given["servers"], skills={"first": 1}),
            AgentSpec(name="two", count=second, skills={"second": 1}),
        ],
        streams=[Stream(name="x", queue="first", rate=load, handle=Draw(exponential=1.0))],
        bounded=True,
    )
    queues = {name: QueueSpec(skills={name: 1}, policy=spec.policy) for name, spec in scenario.queues.items()}
    names = {
        "mean_busy_overflow": of("crew two", "busy"),
        "variance_busy_overflow": of("crew two", "busy_variance"),
        "peakedness": _peakedness,
    }
    return [Trial(_replace(scenario, queues=queues), _checks(case["outputs"], names))]


def _peakedness(found: Rows) -> float:
    return found["crew two"]["busy_variance"] / found["crew two"]["busy"]


def _replace(scenario: Scenario, **changes: Any) -> Scenario:
    return Scenario(**{name: getattr(scenario, name) for name in scenario.__struct_fields__} | changes)


def skills(case: Mapping[str, Any]) -> list[Trial]:
    given, wanted = case["inputs"], case["outputs"]
    agents = [
        AgentSpec(name=f"a{n:03d}", speed=rate, skills={_name(skill): 1 for skill in skills})
        for n, (rate, skills) in enumerate(zip(given["agent_service_rates"], given["agent_skills"], strict=True))
    ]
    streams = [
        Stream(name=_name(kind), queue="q", rate=rate, handle=Draw(exponential=1.0), skills={_name(kind): 1})
        for kind, rate in given["arrival_rates"].items()
    ]
    scenario = steady(queues={"q": QueuePolicy(offers=AT_ONCE)}, agents=agents, streams=streams)
    names = {"p_wait": "share_waiting", "mean_wait": "mean_wait", "mean_queue": "mean_queue"}
    checks = [
        check_of(f"{name}.{kind}", value, of(_name(kind), figure))
        for name, figure in names.items()
        for kind, value in wanted.get(name, {}).items()
    ]
    checks += [
        Check(f"utilisation[{n}]", value, of(f"crew a{n:03d}", "occupancy"))
        for n, value in enumerate(wanted.get("utilisation", []))
    ]
    return [Trial(scenario, tuple(checks))]


def _name(text: str) -> str:
    return text.lower().replace(" ", "-")
