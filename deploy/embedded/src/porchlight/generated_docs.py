"""Pages that are written from the code: topics and facts, problems, the states of a contact."""

import typing
from pathlib import Path
from typing import Literal, get_args, get_origin

import msgspec

import agent_presence.errors
import intake.errors
import reporting.errors
import router.errors
from common.contracts.topics import CATALOGUE, SHARDS
from common.runtime.problems import COMMON, Problem
from router.core.transitions import picture

NOTE = "<!-- written by `make docs`; do not edit -->\n"


def pages() -> dict[str, str]:
    """File name under `docs/` and text of every generated page."""
    return {"contracts.md": _contracts(), "problems.md": _problems(), "states.md": _states()}


def write(folder: Path) -> None:
    """Write the pages."""
    for name, text in pages().items():
        (folder / name).write_text(text)


def _contracts() -> str:
    lines = [
        NOTE,
        "# Contracts",
        "",
        f"Facts travel on four topics of {SHARDS} partitions each, as CloudEvents 1.0 in Kafka's binary mode: the attributes are"
        " headers (`ce_id`, `ce_type`, …), the value is the fact as JSON. The partition is the shard of the fact's pool. Facts of the"
        " router carry `ce_sequence`, gapless within the shard, and `ce_epoch`. Anything may come twice. No fact has personal data.",
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
