"""One value of every fact, made from its fields, always the same."""

import typing
from typing import Any, Literal, get_args, get_origin

import msgspec

from common.contracts.contacts import Requirement
from common.contracts.policies import Need, QueuePolicy, Step


def sample(kind: type[msgspec.Struct]) -> msgspec.Struct:
    """A value of the fact `kind`."""
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(name, hints[name]) for name in kind.__struct_fields__})


def _value(name: str, hint: Any) -> Any:
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    if hint is str:
        return f"the-{name.replace('_', '-')}"
    if hint is bool:
        return True
    if hint == int | None:
        return 1_700_000_000_000 + len(name)
    if hint in (Need, Need | None):
        return Need(skill="spanish", min_level=60, any=(Need(language="es"), Need(region="US-TX")))
    if hint is QueuePolicy:
        return QueuePolicy(steps=(Step(need=Need(agent="ann"), expires_ms=10_000),), length_max=50)
    if hint == tuple[str, ...]:
        return ("en", "es")
    if hint == dict[str, str]:
        return {"team": "gold"}
    if hint is int:
        return 1_700_000_000_000 + len(name) if name.endswith("_ms") else len(name)
    if get_origin(hint) is tuple:
        return (Requirement(skill="spanish", min_level=60),)
    if get_origin(hint) is dict:
        return {"billing": 70, "spanish": 40}
    raise AssertionError(f"no sample for {name}: {hint}")
