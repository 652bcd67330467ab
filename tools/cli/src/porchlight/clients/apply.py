"""Policies as code: a file's skills, queues and agents, what they would change, and changing it: all of it or nothing."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from porchlight.clients.http import Administrator, Integration, Refused
from porchlight.clients.setup_files import SetUp, read, vet_all, whole
from porchlight.installation import Trouble

__all__ = ["Change", "apply", "changes", "read", "wait_until_known"]

KNOWN_TIMEOUT_S = 30.0
SET_BY_OTHERS = {
    *("id", "version", "contacts", "agent_id", "presence", "limits"),
    *("routing_state", "routing_reason", "link_score", "session_since"),
}
"""What an answer says besides what a file can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing of the file beside what is there. `fields`: (path, before, after) of what would be different."""

    kind: Literal["skill", "queue", "agent"]
    name: str
    is_new: bool
    fields: tuple[tuple[str, Any, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is wanted, what is there of it, and the difference."""

    wanted: SetUp
    queues: dict[str, dict[str, Any]]
    agents: dict[str, dict[str, Any]]
    changes: list[Change]


async def changes(administrator: Administrator, wanted: dict[str, Any]) -> list[Change]:
    """What applying the file would change, skills first. `Trouble` names everything that would be refused."""
    return (await _plan(administrator, wanted)).changes


async def _plan(administrator: Administrator, wanted: dict[str, Any]) -> _Plan:
    full = whole(wanted)
    skills, there = set(await administrator.skills()), await administrator.queues()
    agents = {name: await administrator.agent(name) for name in full.agents}
    vet_all(full, skills, there)
    found = [Change(kind="skill", name=one, is_new=True, fields=()) for one in full.skills if one not in skills]
    for name, queue in full.queues.items():
        found += _compare("queue", name, there.get(name), queue)
    for name, agent in full.agents.items():
        found += _compare("agent", name, agents[name], agent)
    present = {name: agent for name, agent in agents.items() if agent is not None}
    plan = _Plan(wanted=full, queues=there, agents=present, changes=found)
    await _ask(administrator, plan)
    return plan


async def _ask(administrator: Administrator, plan: _Plan) -> None:
    """Ask the services themselves about what only they know: scorers, and who is signed in."""
    faults = []
    for change in plan.changes:
        try:
            if change.kind == "queue":
                await administrator.put_queue(change.name, _alone(plan.wanted.queues[change.name]), dry_run=True)
            elif change.kind == "agent":
                agent = plan.wanted.agents[change.name]
                await administrator.put_agent(change.name, {**agent, "skills": {}}, dry_run=True)
        except Refused as why:
            faults.append(f"{change.kind}s.{change.name}: {why}; {why.problem.get('errors', '')}")
    if faults:
        raise Trouble("\n".join(faults))


def _alone(queue: dict[str, Any]) -> dict[str, Any]:
    """The queue without what the file may define besides: skills and other queues were judged before."""
    choice = queue["policy"].get("choice", {})
    kept = {name: value for name, value in choice.items() if name != "weights"}
    policy = {"choice": kept} if choice.get("method") == "scorer" else {}
    return {**queue, "requirements": [], "policy": policy}


def _compare(
    kind: Literal["queue", "agent"], name: str, before: dict[str, Any] | None, after: dict[str, Any]
) -> Iterator[Change]:
    wanted = dict(_flat(after))
    if before is None:
        yield Change(kind=kind, name=name, is_new=True, fields=tuple((path, None, wanted[path]) for path in wanted))
        return
    known = {path: value for path, value in _flat(before) if path.split(".")[0] not in SET_BY_OTHERS}
    paths = sorted({*known, *wanted})
    fields = tuple((path, known.get(path), wanted.get(path)) for path in paths if known.get(path) != wanted.get(path))
    if fields:
        yield Change(kind=kind, name=name, is_new=False, fields=fields)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and (value or not path):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif value not in ({}, [], ()):
        yield path, list(value) if isinstance(value, tuple) else value


async def apply(administrator: Administrator, wanted: dict[str, Any]) -> dict[str, int]:
    """Define everything, skills first; returns how many of each the file has. What is as wanted already is left alone.

    Everything is checked before anything is changed. `Trouble` names what was refused; what was changed before a refusal that
    nobody could foresee (somebody else changed something meanwhile) is put back.
    """
    plan = await _plan(administrator, wanted)
    done: list[Change] = []
    try:
        for change in plan.changes:
            if change.kind == "skill":
                await administrator.put_skill(change.name)
                done.append(change)
        await _put_queues(administrator, plan, done)
        for change in plan.changes:
            if change.kind == "agent":
                await administrator.put_agent(change.name, plan.wanted.agents[change.name])
                done.append(change)
    except Refused as why:
        left = await _put_back(administrator, plan, done)
        rest = f"; changed and still there: {', '.join(left)}" if left else "; nothing was changed"
        raise Trouble(f"{why}; {why.problem.get('errors', '')}{rest}") from why
    full = plan.wanted
    return {"skills": len(full.skills), "queues": len(full.queues), "agents": len(full.agents)}


async def _put_queues(administrator: Administrator, plan: _Plan, done: list[Change]) -> None:
    """Queues may refer to each other: new ones without their policy first, then in rounds, since one may be refused until another
    is changed (two that swap their ways). As the whole has no circle, each round has one that refers only to what is done.
    """
    left = [change for change in plan.changes if change.kind == "queue"]
    if any(plan.wanted.queues[change.name]["policy"] for change in left):
        for change in left:
            if change.is_new:
                await administrator.put_queue(change.name, {**plan.wanted.queues[change.name], "policy": {}})
                done.append(change)
    while left:
        refused: list[tuple[Change, Refused]] = []
        for change in left:
            try:
                await administrator.put_queue(change.name, plan.wanted.queues[change.name])
                done.append(change)
            except Refused as why:
                refused.append((change, why))
        if len(refused) == len(left):
            raise refused[0][1]
        left = [change for change, _ in refused]


async def _put_back(administrator: Administrator, plan: _Plan, done: list[Change]) -> list[str]:
    """Undo what was done; returns what could not be, which is what is new."""
    left = list({(change.kind, change.name): change for change in done if not change.is_new}.values())
    for _ in range(len(left)):  # what refers to something that comes back later is put back in the next round
        for change in list(left):
            try:
                if change.kind == "queue":
                    await administrator.put_queue(change.name, _own(plan.queues[change.name]))
                else:
                    await administrator.put_agent(change.name, _own(plan.agents[change.name]))
                left.remove(change)
            except Refused:
                continue
    stays = [*left, *(change for change in done if change.is_new)]
    return sorted({f"{change.kind} {change.name}" for change in stays})


def _own(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in SET_BY_OTHERS}


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
