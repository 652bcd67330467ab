"""Scenario files: YAML in, a scenario that can be played out, or the line and the field that cannot be."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from common.contracts.needs import need_faults
from porchlight.files.structured import line_of, read_file
from porchlight.installation import Trouble
from porchlight_simulator.scenario import RANDOM, Draw, QueueSpec, Scenario, Stream
from router.core.model.queue import CHANNEL_UNITS
from router.core.rules.criteria import skills_need
from router.policies.validation import Known, vet

CONTACTS_MAX = 10_000_000
"""Contacts of a stream in a replication: more would be played for hours."""


def read_scenario(path: Path) -> Scenario:
    """The file's scenario. `Trouble` names file, line, field and reason."""
    raw, tree = read_file(path, is_yaml=True)
    faults = []
    scenario = None
    try:
        scenario = _convert(raw)
    except msgspec.ValidationError as why:
        reason, _, place = str(why).partition(" - at `$")
        faults.append((place.rstrip("`").lstrip("."), reason))
    if scenario is not None:
        faults = list(_faults(scenario))
    if faults:
        lines = [f"{path}, line {line_of(tree, place)}: {place or 'file'}: {reason}" for place, reason in faults]
        raise Trouble("\n".join(lines))
    assert scenario is not None
    return scenario


def _convert(raw: Any) -> Scenario:
    if isinstance(raw, dict) and isinstance(raw.get("queues"), dict):
        for name, spec in raw["queues"].items():  # one by one, so that an error names the queue
            try:
                msgspec.convert(spec, QueueSpec)
            except msgspec.ValidationError as why:
                reason, _, place = str(why).partition(" - at `$")
                inside = place.rstrip("`")
                raise msgspec.ValidationError(f"{reason} - at `$.queues.{name}{inside}`") from why
    return msgspec.convert(raw, Scenario)


def _faults(scenario: Scenario) -> Iterator[tuple[str, str]]:
    policies = {name: spec.policy for name, spec in scenario.queues.items()}
    for name, spec in scenario.queues.items():
        base = skills_need(tuple(sorted(spec.skills.items())))
        others = {other: policy for other, policy in policies.items() if other != name}
        for fault in vet(name, base, spec.policy, Known(skills=None, queues=others, scorers=frozenset({RANDOM}))):
            yield f"queues.{name}.policy.{fault.path}", fault.reason
    if (scenario.horizon is None) == (scenario.contacts is None):
        yield "", "give either horizon, for a day that ends, or contacts, for a steady state"
    if not scenario.agents:
        yield "agents", "there must be somebody"
    if not scenario.arrivals:
        yield "arrivals", "somebody must come"
    yield from _twice("agents", [crew.name for crew in scenario.agents])
    yield from _twice("arrivals", [stream.name for stream in scenario.arrivals])
    for number, crew in enumerate(scenario.agents):
        last = 0.0
        for place, shift in enumerate(crew.shifts):
            if shift.start >= shift.end:
                yield f"agents[{number}].shifts[{place}].end", "is not after its start"
            if shift.start < last:
                yield f"agents[{number}].shifts[{place}].start", "is before the end of the shift before it"
            last = shift.end
        if crew.answers_after is not None:
            yield from _draw(f"agents[{number}].answers_after", crew.answers_after)
    for number, stream in enumerate(scenario.arrivals):
        yield from _stream(f"arrivals[{number}]", stream, scenario)


def _twice(table: str, names: list[str]) -> Iterator[tuple[str, str]]:
    for number, name in enumerate(names):
        if name in names[:number]:
            yield f"{table}[{number}].name", f"{name} stands there twice"
        if name == "all":
            yield f"{table}[{number}].name", "all is what the figures of everybody are called"


def _expected(stream: Stream, horizon: float) -> float:
    """How many contacts come in a replication, on the average."""
    pieces = stream.piecewise if stream.piecewise is not None else ((0.0, stream.rate or 0.0),)
    ends = [*(start for start, _ in pieces[1:]), horizon]
    return sum(rate * max(0.0, min(end, horizon) - start) for (start, rate), end in zip(pieces, ends, strict=True))


def _stream(place: str, stream: Stream, scenario: Scenario) -> Iterator[tuple[str, str]]:
    if stream.queue not in scenario.queues:
        yield f"{place}.queue", f"there is no queue {stream.queue}"
    if stream.channel not in CHANNEL_UNITS:
        yield f"{place}.channel", f"there is no channel {stream.channel}"
    for reason in need_faults(stream.need):
        yield f"{place}.need", reason
    given = [name for name in ("rate", "piecewise", "times") if getattr(stream, name) is not None]
    if len(given) != 1:
        yield place, f"give exactly one of rate, piecewise and times, not {' and '.join(given) or 'none'}"
    if scenario.contacts is not None and stream.rate is None:
        yield place, "a steady state needs a rate"
    if stream.piecewise == ():
        yield f"{place}.piecewise", "is empty"
    elif scenario.horizon is not None and _expected(stream, scenario.horizon) > CONTACTS_MAX:
        came = _expected(stream, scenario.horizon)
        yield place, f"would be {came:.3g} contacts a replication, at most {CONTACTS_MAX:,} can be played"
    starts = [start for start, _ in stream.piecewise or ()]
    if starts != sorted(starts):
        yield f"{place}.piecewise", "its times must rise"
    yield from _draw(f"{place}.handle", stream.handle)
    if stream.patience is not None:
        yield from _draw(f"{place}.patience", stream.patience)


def _draw(place: str, draw: Draw) -> Iterator[tuple[str, str]]:
    if len(draw.given) != 1:
        names = ", ".join(draw.__struct_fields__)
        yield place, f"give exactly one of {names}, not {' and '.join(draw.given) or 'none'}"
    if draw.uniform is not None and draw.uniform[0] > draw.uniform[1]:
        yield f"{place}.uniform", "ends before it begins"
    if draw.values == ():
        yield f"{place}.values", "is empty"
