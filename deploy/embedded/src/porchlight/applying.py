"""Policies as code: a file's skills, queues and agents, what they would change, and changing it."""

import asyncio
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from common.contracts.needs import NESTING_MAX, is_nested_too_deep
from common.contracts.policies import QueuePolicy
from porchlight.clients import Administrator, Integration, Refused
from porchlight.home import Trouble
from router.core.needs import skills_need
from router.vetting import Known, vet

KNOWN_TIMEOUT_S = 30.0
TABLES = {"skills", "queues", "agents"}
SET_BY_OTHERS = {"id", "version", "contacts", "agent_id", "presence", "limits"}
"""What an answer says besides what a file can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing of the file beside what is there. `fields`: (path, before, after) of what would be different."""

    kind: Literal["skill", "queue", "agent"]
    name: str
    is_new: bool
    fields: tuple[tuple[str, Any, Any], ...]


def read(path: Path) -> dict[str, Any]:
    """The file's tables `queues` and `agents` and its list `skills`, from TOML or YAML. `Trouble` when it is not such a file."""
    try:
        text = path.read_text()
        found = yaml.safe_load(text) if path.suffix in (".yaml", ".yml") else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as why:
        raise Trouble(f"cannot read {path}: {why}") from why
    except RecursionError as why:
        raise Trouble(f"{path}: is nested more than {NESTING_MAX} levels deep") from why
    if is_nested_too_deep(found):
        raise Trouble(f"{path}: is nested more than {NESTING_MAX} levels deep")
    if not isinstance(found, dict):
        raise Trouble(f"{path}: there must be tables skills, queues and agents")
    unknown = sorted(set(found) - TABLES)
    if unknown:
        raise Trouble(f"{path}: unknown table {', '.join(unknown)}; there are skills, queues and agents")
    return found


async def changes(administrator: Administrator, wanted: dict[str, Any]) -> list[Change]:
    """What applying the file would change, skills first. `Trouble` names a policy that cannot work."""
    skills = set(await administrator.skills())
    there = await administrator.queues()
    _vet(wanted, skills | set(wanted.get("skills", [])), there)
    found = [
        Change(kind="skill", name=one, is_new=True, fields=()) for one in wanted.get("skills", []) if one not in skills
    ]
    for name, queue in wanted.get("queues", {}).items():
        found += _compare("queue", name, there.get(name), queue)
    for name, agent in wanted.get("agents", {}).items():
        found += _compare("agent", name, await administrator.agent(name), agent)
    return found


def _vet(wanted: dict[str, Any], skills: set[str], there: dict[str, dict[str, Any]]) -> None:
    """The router's own test of policies, with the file's skills and queues as if they were there."""
    whole = {**there, **wanted.get("queues", {})}
    policies = {}
    for name, queue in whole.items():
        try:
            policies[name] = msgspec.convert(queue.get("policy", {}), QueuePolicy)
        except msgspec.ValidationError as why:
            raise Trouble(f"queues.{name}.policy: {why}") from why
    faults = []
    for name, queue in wanted.get("queues", {}).items():
        pool = queue.get("pool")
        others = {each: policies[each] for each, other in whole.items() if each != name and other.get("pool") == pool}
        pairs = tuple((one["skill"], one.get("min_level", 0)) for one in queue.get("requirements", []))
        missing = [skill for skill, _ in pairs if skill not in skills]
        faults += [f"queues.{name}.requirements: there is no skill {skill}" for skill in missing]
        known = Known(skills=skills, queues=others, scorers=frozenset({policies[name].choice.scorer}))
        faults += [
            f"queues.{name}.policy.{fault.path}: {fault.reason}"
            for fault in vet(name, skills_need(pairs), policies[name], known)
        ]
    if faults:
        raise Trouble("\n".join(faults))


def _compare(
    kind: Literal["queue", "agent"], name: str, before: dict[str, Any] | None, after: dict[str, Any]
) -> Iterator[Change]:
    if before is None:
        yield Change(
            kind=kind, name=name, is_new=True, fields=tuple((path, None, value) for path, value in _flat(after))
        )
        return
    known = {path: value for path, value in _flat(before) if path.split(".")[0] not in SET_BY_OTHERS}
    wanted = dict(_flat(after))
    gone = [path for path in known if path not in wanted and _is_inside(path, after)]
    fields = [(path, known.get(path), value) for path, value in wanted.items() if known.get(path) != value]
    fields += [(path, known[path], None) for path in gone]
    if fields:
        yield Change(kind=kind, name=name, is_new=False, fields=tuple(sorted(fields, key=lambda one: one[0])))


def _is_inside(path: str, after: dict[str, Any]) -> bool:
    """Whether the file speaks of what the path is a part of, so that its silence about the path means: the default."""
    return "." in path and path.split(".")[0] in after


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and (value or not path):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif value not in ({}, []):
        yield path, value


async def apply(administrator: Administrator, wanted: dict[str, Any]) -> dict[str, int]:
    """Define everything, skills first; returns how many of each. `Trouble` names what was refused.

    Queues may refer to each other: those with a policy are defined without it first, where they are not there yet.
    """
    counts = {"skills": 0, "queues": 0, "agents": 0}
    queues = wanted.get("queues", {})
    try:
        for skill in wanted.get("skills", []):
            await administrator.put_skill(skill)
            counts["skills"] += 1
        if any(queue.get("policy") for queue in queues.values()):
            there = await administrator.queues()
            for name, queue in queues.items():
                if name not in there:
                    await administrator.put_queue(name, {key: value for key, value in queue.items() if key != "policy"})
        for name, queue in queues.items():
            await administrator.put_queue(name, queue)
            counts["queues"] += 1
        for agent, profile in wanted.get("agents", {}).items():
            await administrator.put_agent(agent, profile)
            counts["agents"] += 1
    except Refused as why:
        raise Trouble(f"after {counts}: {why}; {why.problem.get('errors', '')}") from why
    return counts


async def wait_until_known(integration: Integration, body: dict[str, Any]) -> dict[str, Any]:
    """Post a contact as soon as intake has heard of its queue and skills; returns what was accepted."""
    deadline = asyncio.get_running_loop().time() + KNOWN_TIMEOUT_S
    while True:
        try:
            return await integration.post(body)
        except Refused as why:
            if why.kind not in ("unknown-queue", "unknown-skill") or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)
