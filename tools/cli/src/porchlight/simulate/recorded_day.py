"""A recorded day in the simulator: same arrivals, handle times, patience and seats, beside what was recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.contracts.policies import Offers, Order, QueuePolicy
from porchlight.files.names import id_of
from porchlight.replay.call_log import Call, read_day, seats
from porchlight_simulator.distributions import generator
from porchlight_simulator.scenario import AgentSpec, Draw, QueueSpec, Scenario, Shift, Stream

CREDIT_S = 90
"""Priority callers of the recorded bank began with so many seconds of waiting credit."""
THRESHOLD_S = 20.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the log says of the day."""

    calls: int
    share_abandoned: float
    mean_wait_s: float
    service_level: float


def recorded(path: Path, day: str) -> Recorded:
    """The day as it was: waits of all callers, answered or not."""
    calls = read_day(path, day).calls
    waits = [_wait(call) for call in calls]
    answered_soon = sum(
        call.patience_s is None and wait <= THRESHOLD_S for call, wait in zip(calls, waits, strict=True)
    )
    return Recorded(
        calls=len(calls),
        share_abandoned=sum(call.patience_s is not None for call in calls) / len(calls),
        mean_wait_s=sum(waits) / len(calls),
        service_level=answered_soon / len(calls),
    )


def bank_day(path: Path, day: str, *, seed: int, replications: int) -> Scenario:
    """The day as a scenario. Seeds differ only in the patience of those who were answered: nobody recorded it.

    Who was answered after w seconds was willing to wait longer than w; with exponential patience of mean m per type
    (all waiting divided by all who hung up) that is w + Exp(m).
    """
    found = read_day(path, day)
    end = max(call.arrival_s for call in found.calls) + 3_600
    agents = [
        AgentSpec(
            name=seat.agent,
            skills={id_of(kind): 1 for kind in seat.types},
            shifts=tuple(Shift(start=start, end=stop) for start, stop in seat.spans),
        )
        for seat in seats(path, day)
    ]
    streams = [
        _stream(
            kind,
            priority,
            [one for one in found.calls if one.type == kind and one.priority == priority],
            found.calls,
            seed,
        )
        for kind in found.types
        for priority in (0, 1)
        if any(one.type == kind and one.priority == priority for one in found.calls)
    ]
    order = Order(method="score", points_per_priority=CREDIT_S, points_per_second=1)
    return Scenario(
        name=f"{path.stem} {day}",
        queues={"bank": QueueSpec(policy=QueuePolicy(offers=Offers(auto_accept=True), order=order))},
        agents=tuple(agents),
        arrivals=tuple(streams),
        horizon=float(end),
        threshold=THRESHOLD_S,
        seed=seed,
        replications=replications,
    )


def _stream(kind: str, priority: int, calls: Sequence[Call], everybody: Sequence[Call], seed: int) -> Stream:
    alike = [call for call in everybody if call.type == kind]
    left = sum(call.patience_s is not None for call in alike)
    mean = sum(_wait(call) for call in alike) / max(1, left)
    source = generator(seed, 9_000, priority, *kind.encode())
    more = source.exponential(max(mean, 1.0), len(calls))
    patience = np.array([_wait(call) for call in calls]) + np.array(
        [extra if call.patience_s is None else 0.0 for call, extra in zip(calls, more, strict=True)]
    )
    return Stream(
        name=f"{id_of(kind)}-{priority}",
        queue="bank",
        priority=priority,
        skills={id_of(kind): 0},
        times=tuple(float(call.arrival_s) for call in calls),
        handle=Draw(values=tuple(float(call.service_s) for call in calls)),
        patience=Draw(values=tuple(float(each) for each in patience)),
    )


def _wait(call: Call) -> float:
    return float(call.wait_s)
