"""YAML and TOML as people write them: what a format would silently make something else of is refused with line and reason."""

import math
import tomllib
from datetime import date, time
from pathlib import Path
from typing import Any

import yaml

from common.contracts.needs import NESTING_MAX, is_nested_too_deep
from porchlight.files.tables import read_text
from porchlight.installation import Trouble

FILE_BYTES_MAX = 4_000_000
NODES_MAX = 500_000
"""Values in a file, with what its anchors repeat."""
TAG = "tag:yaml.org,2002:"
QUOTES = "put it in quotes"


def read_file(path: Path, *, is_yaml: bool) -> tuple[Any, Any]:
    """What the file says, and its tree for `line_of` (None for TOML, which a file is that is not YAML)."""
    text = read_text(path)
    if len(text) > FILE_BYTES_MAX:
        raise Trouble(f"{path} is larger than {FILE_BYTES_MAX:,} characters")
    try:
        if is_yaml:
            found, tree = _yaml(path, text)
        else:
            found, tree = _toml(path, text), None
    except RecursionError as why:
        raise Trouble(f"{path}: is nested more than {NESTING_MAX} levels deep") from why
    if is_nested_too_deep(found):
        raise Trouble(f"{path}: is nested more than {NESTING_MAX} levels deep")
    return found, tree


def line_of(tree: Any, place: str) -> int:
    """The line of a place like `agents[0].shifts[1].end`, or of the nearest thing around it."""
    node = tree
    for part in place.replace("[", ".[").split("."):
        found = _child(node, part)
        if found is None:
            break
        node = found
    return 1 if node is None else int(node.start_mark.line) + 1


def _child(node: Any, part: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return value
    if isinstance(node, yaml.SequenceNode) and part.startswith("[") and part[1:-1].isdigit():
        number = int(part[1:-1])
        return node.value[number] if number < len(node.value) else None
    return None


def _yaml(path: Path, text: str) -> tuple[Any, Any]:
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is None:
            return None, None
        if _judge(path, tree, {}, "") > NODES_MAX:
            raise Trouble(f"{path} says more than {NODES_MAX:,} things, with what its anchors repeat")
        return yaml.safe_load(text), tree
    except yaml.YAMLError as why:
        mark = getattr(why, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise Trouble(f"{path}{line}: {getattr(why, 'problem', None) or why}") from why
    except ValueError as why:  # a number or a date that there is not
        raise Trouble(f"{path}: {why}") from why


def _judge(path: Path, node: Any, sizes: dict[int, int], place: str) -> int:
    """How many values the node has, with what is repeated in it. `Trouble` names the line of what is not what it seems."""
    if id(node) in sizes:
        if sizes[id(node)] == 0:
            raise Trouble(f"{path}, line {node.start_mark.line + 1}: an anchor that has itself inside")
        return sizes[id(node)]
    sizes[id(node)] = 0
    size = 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            where = f"{path}, line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise Trouble(f"{where}: a name must be a word")
            _judge_scalar(where, key)
            if key.tag not in (f"{TAG}str", f"{TAG}merge"):
                raise Trouble(f"{where}: {key.value!r} is read as {_kind(key)}, not as a name: {QUOTES}")
            if key.value in seen:
                raise Trouble(f"{where}: {key.value!r} stands there twice")
            seen.add(key.value)
            size += _judge(path, value, sizes, f"{place}.{key.value}" if place else key.value)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_judge(path, one, sizes, f"{place}[{number}]") for number, one in enumerate(node.value))
    else:
        _judge_scalar(f"{path}, line {node.start_mark.line + 1}: {place}", node)
    sizes[id(node)] = size
    return size


def _judge_scalar(where: str, node: Any) -> None:
    if node.style is not None:
        return
    text, kind = str(node.value), node.tag.removeprefix(TAG)
    plain = text.lstrip("+-").replace("_", "")
    if kind == "timestamp":
        raise Trouble(f"{where}: {text} is read as a date: {QUOTES}")
    if kind in ("int", "float") and ":" in text:
        raise Trouble(f"{where}: {text} is read as a number of sixtieths, not as a time: {QUOTES}, or write a number")
    if kind == "int" and len(plain) > 1 and plain[0] == "0" and plain.isdigit():
        raise Trouble(f"{where}: {text} is read as a number of eights: {QUOTES}, or leave the zero out")
    if kind == "bool" and text.lower() not in ("true", "false"):
        raise Trouble(f"{where}: {text} is read as {_kind(node)}: {QUOTES}, or write true or false")
    if kind == "float" and not _is_finite(plain):
        raise Trouble(f"{where}: {text} is not a finite number")


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text.replace(".inf", "inf").replace(".nan", "nan").lower()))
    except ValueError:
        return False


def _kind(node: Any) -> str:
    kind = str(node.tag).removeprefix(TAG)
    if kind == "bool":
        return "true" if str(node.value).lower() in ("yes", "on", "true", "y") else "false"
    return {"int": "a number", "float": "a number", "null": "nothing"}.get(kind, kind)


def _toml(path: Path, text: str) -> Any:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as why:
        raise Trouble(f"cannot read {path}: {why}") from why
    _judge_toml(path, found, "")
    return found


def _judge_toml(path: Path, value: Any, place: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _judge_toml(path, inner, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _judge_toml(path, inner, f"{place}[{number}]")
    elif isinstance(value, date | time):  # a date with a time is a date, too
        raise Trouble(f"{path}: {place}: {value} is read as a date or a time: {QUOTES}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise Trouble(f"{path}: {place}: {value} is not a finite number")
