"""Pages that are written from the code: topics and facts, HTTP, problems, metrics, the states of a contact."""

import json
import typing
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

import msgspec
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

import agent_presence.errors
import agent_presence.metrics
import common.runtime.metrics
import intake.errors
import intake.metrics
import reporting.errors
import reporting.metrics
import router.errors
import router.inspection.collectors
import router.metrics
from common.contracts.topics import CATALOGUE, SHARDS
from common.runtime.clock import SystemClock
from common.runtime.problems import COMMON, Problem
from porchlight_docgen import api_reference, event_reference
from router.core.model.transitions import picture

NOTE = "<!-- written by `make docs`; do not edit -->\n"


def pages() -> dict[str, str]:
    """File name under `docs/` and text of every generated page."""
    openapi = {f"openapi/{name}.json": _json(one) for name, one in api_reference.descriptions().items()}
    return {
        **openapi,
        "asyncapi.json": _json(event_reference.description()),
        "contracts.md": _contracts(),
        "http-api.md": api_reference.page(NOTE),
        "metrics.md": _metrics(),
        "problems.md": _problems(),
        "states.md": _states(),
    }


def write(folder: Path) -> None:
    """Write the pages."""
    for name, text in pages().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


class Described(typing.NamedTuple):
    """A metric as the catalogue has it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def catalogue() -> dict[str, list[Described]]:
    """Every metric by the service that has it; `every service` for those of the shared runtime."""
    state = router.inspection.collectors.StateFigures({}, SystemClock()).describe()
    return {
        "every service": _described(common.runtime.metrics),
        "intake": _described(intake.metrics),
        "router": _described(router.metrics) + [_as_described(one, one) for one in state],
        "agent-presence": _described(agent_presence.metrics),
        "reporting": _described(reporting.metrics),
    }


def _described(module: ModuleType) -> list[Described]:
    found = [one for one in vars(module).values() if isinstance(one, MetricWrapperBase)]
    return [_as_described(family, one) for one in found for family in one.describe()]


def _as_described(family: Metric, labelled: Any) -> Described:
    name = family.name + ("_total" if family.type == "counter" else "")
    return Described(name, family.type, tuple(labelled._labelnames), family.documentation.rstrip("."))


def _metrics() -> str:
    lines = [
        NOTE,
        "# Metrics",
        "",
        "At `/metrics` of every instance, inside the network only. Units stand in the names: seconds, bytes, or a count."
        " Besides these, every instance shows its process (`process_*`) and its Python (`python_*`)."
        " Labels never name contacts, agents or customers.",
    ]
    for service, metrics in catalogue().items():
        lines += [
            "",
            f"## {service.capitalize()}",
            "",
            "| name | kind | labels | meaning |",
            "| --- | --- | --- | --- |",
        ]
        for one in metrics:
            labels = ", ".join(f"`{label}`" for label in one.labels)
            lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.meaning} |")
    return "\n".join(lines) + "\n"


def _contracts() -> str:
    lines = [
        NOTE,
        "# Contracts",
        "",
        f"Facts travel on four topics of {SHARDS} partitions each, as CloudEvents 1.0 in Kafka's binary mode: the attributes are"
        " headers (`ce_id`, `ce_type`, …), the value is the fact as JSON. The partition is the shard of the fact's pool. Facts of the"
        " router carry `ce_sequence`, gapless within the shard, and `ce_epoch`. Anything may come twice. No fact has personal data.",
        "",
        "The same for machines, as AsyncAPI 3 with a JSON Schema for each fact: [asyncapi.json](asyncapi.json).",
    ]
    for topic in CATALOGUE:
        kept = "compacted" if topic.retention_hours is None else f"kept {topic.retention_hours} h"
        lines += ["", f"## `{topic.name}`", "", f"Owner: {topic.owner}. Key: {topic.key}. {kept.capitalize()}."]
        for fact in topic.facts:
            lines += ["", f"### `{fact.__struct_config__.tag}`", "", " ".join((fact.__doc__ or "").split()), ""]
            lines += ["| field | type |", "| --- | --- |"]
            hints = typing.get_type_hints(fact)
            lines += [f"| `{name}` | {_type_name(hints[name])} |" for name in fact.__struct_fields__]
    return "\n".join(lines) + "\n"


def _type_name(hint: object) -> str:
    if get_origin(hint) is Literal:
        return " \\| ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) is tuple:
        return f"list of {_type_name(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        key, value = get_args(hint)
        return f"{_type_name(key)} to {_type_name(value)}"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return "{" + ", ".join(hint.__struct_fields__) + "}"
    return {str: "text", int: "integer"}.get(hint, str(hint))  # type: ignore[call-overload, no-any-return]


def _problems() -> str:
    lines = [
        NOTE,
        "# Problems",
        "",
        "What cannot be done is answered as `application/problem+json` (RFC 9457). `type` is `urn:porchlight:problem:<name>`,"
        " `detail` says what happened here, `way_out` what you can do. Each answer carries `X-Correlation-Id`.",
    ]
    own: dict[str, tuple[Problem, ...]] = {
        "every service": COMMON,
        "intake": intake.errors.PROBLEMS,
        "router": router.errors.PROBLEMS,
        "agent-presence": agent_presence.errors.PROBLEMS,
        "reporting": reporting.errors.PROBLEMS,
    }
    for service, problems in own.items():
        lines += [
            "",
            f"## {service.capitalize()}",
            "",
            "| name | status | meaning | way out |",
            "| --- | --- | --- | --- |",
        ]
        lines += [f"| `{p.name}` | {p.status} | {p.title} | {p.way_out} |" for p in problems]
    return "\n".join(lines) + "\n"


def _states() -> str:
    about = "Each transition is one fact, drawn from the router's table."
    return f"{NOTE}\n# States of a contact\n\n{about}\n\n```mermaid\n{picture()}\n```\n"
