"""Set-up files: skills, queues and agents as the admin APIs take them, or every place that they would refuse."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from agent_presence.models import AgentIn
from common.contracts.agents import AGENT_ID, AGENT_ID_CHARS_MAX
from common.contracts.policies import QueuePolicy
from porchlight.files.structured import read_file
from porchlight.installation import Trouble
from router.core.rules.criteria import skills_need
from router.policies.api import QueueIn
from router.policies.validation import Known, vet

TABLES = {"skills", "queues", "agents"}
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(slots=True)
class SetUp:
    """What a file wants, with every default filled in: what the APIs would answer afterwards."""

    skills: list[str] = field(default_factory=list)
    queues: dict[str, dict[str, Any]] = field(default_factory=dict)
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)
    policies: dict[str, QueuePolicy] = field(default_factory=dict)


def read(path: Path) -> dict[str, Any]:
    """The file's tables `queues` and `agents` and its list `skills`, from TOML or YAML. `Trouble` when it is not such a file."""
    found, _ = read_file(path, is_yaml=path.suffix.lower() in (".yaml", ".yml", ".json"))
    if not isinstance(found, dict):
        raise Trouble(f"{path}: there must be tables skills, queues and agents")
    unknown = sorted(set(found) - TABLES)
    if unknown:
        raise Trouble(f"{path}: unknown table {', '.join(unknown)}; there are skills, queues and agents")
    whole(found)
    return found


def whole(wanted: dict[str, Any]) -> SetUp:
    """What is wanted, in full. `Trouble` names each place that does not fit the APIs' own schemas."""
    found, faults = SetUp(), []
    skills = wanted.get("skills") or []
    if not isinstance(skills, list | tuple):
        raise Trouble(f"skills must be a list, like [{skills}]")
    for number, skill in enumerate(skills):
        faults += _name_faults(f"skills[{number}]", skill)
    found.skills = list(dict.fromkeys(str(skill) for skill in skills))
    for table, model in (("queues", QueueIn), ("agents", AgentIn)):
        entries = wanted.get(table) or {}
        if not isinstance(entries, dict):
            raise Trouble(f"{table} must be a table with a name for each, like {table}: {{first: {{pool: retail}}}}")
        for name, entry in entries.items():
            place = f"{table}.{name}"
            faults += _agent_faults(place, name) if table == "agents" else _name_faults(place, name)
            values = _values(place, model, entry, faults)
            if values is not None:
                getattr(found, table)[name] = values
    for name, queue in found.queues.items():
        try:
            found.policies[name] = msgspec.convert(queue["policy"], QueuePolicy)
        except msgspec.ValidationError as why:
            reason, _, inside = str(why).partition(" - at `$")
            faults.append(f"queues.{name}.policy{inside.rstrip('`')}: {reason}")
            continue
        queue["policy"] = msgspec.to_builtins(found.policies[name])
        queue["requirements"].sort(key=lambda one: (one["skill"], one["min_level"]))
    if faults:
        raise Trouble("\n".join(faults))
    return found


def vet_all(wanted: SetUp, skills: set[str], there: dict[str, dict[str, Any]]) -> None:
    """The router's own test of policies, with the file's skills and queues as if they were there. `Trouble` names all faults."""
    known_skills = skills | set(wanted.skills)
    queues = {**there, **wanted.queues}
    policies = {
        name: wanted.policies.get(name) or msgspec.convert(queue.get("policy", {}), QueuePolicy)
        for name, queue in queues.items()
    }
    faults = []
    for name, queue in wanted.queues.items():
        pool = queue["pool"]
        if name in there and there[name]["pool"] != pool:
            faults.append(f"queues.{name}.pool: is fixed, the queue lies in {there[name]['pool']}")
        others = {each: policies[each] for each, other in queues.items() if each != name and other["pool"] == pool}
        pairs = tuple((one["skill"], one["min_level"]) for one in queue["requirements"])
        missing = [skill for skill, _ in pairs if skill not in known_skills]
        faults += [f"queues.{name}.requirements: there is no skill {skill}" for skill in missing]
        scorers = frozenset({policies[name].choice.scorer})  # only the router knows which it has
        faults += [
            f"queues.{name}.policy.{fault.path}: {fault.reason}"
            for fault in vet(name, skills_need(pairs), policies[name], Known(known_skills, others, scorers))
        ]
    for name, agent in wanted.agents.items():
        missing = sorted(set(agent["skills"]) - known_skills)
        faults += [f"agents.{name}.skills: there is no skill {skill}" for skill in missing]
    if faults:
        raise Trouble("\n".join(faults))


def _values(place: str, model: type[BaseModel], entry: Any, faults: list[str]) -> dict[str, Any] | None:
    try:
        return model.model_validate({} if entry is None else entry).model_dump()
    except ValidationError as why:
        for one in why.errors():
            inside = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in one["loc"])
            faults.append(f"{place}{inside}: {one['msg']}")
        return None


def _name_faults(place: str, name: Any) -> list[str]:
    if isinstance(name, str) and NAME.fullmatch(name):
        return []
    return [f"{place}: {name!r} is no id: lower-case letters, digits, and then also . _ and -, at most 64"]


def _agent_faults(place: str, name: Any) -> list[str]:
    if isinstance(name, str) and re.fullmatch(AGENT_ID, name):
        return []
    what = f"at most {AGENT_ID_CHARS_MAX} ASCII characters without blanks, slashes, quotes, < and >, and no dot first"
    return [f"{place}: {name!r} is no agent's id: {what}"]
