"""Queues, skills and agents from a TOML file, through the admin APIs."""

import asyncio
import tomllib
from pathlib import Path
from typing import Any

from porchlight.clients import Administrator, Integration, Refused
from porchlight.home import Trouble

KNOWN_TIMEOUT_S = 30.0


def read(path: Path) -> dict[str, Any]:
    """The file's tables `queues` and `agents` and its list `skills`. `Trouble` when it is not such a file."""
    try:
        found = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as why:
        raise Trouble(f"cannot read {path}: {why}") from why
    unknown = sorted(set(found) - {"skills", "queues", "agents"})
    if unknown:
        raise Trouble(f"{path}: unknown table {', '.join(unknown)}; there are skills, queues and agents")
    return found


async def apply(administrator: Administrator, wanted: dict[str, Any]) -> dict[str, int]:
    """Define everything, skills first; returns how many of each. `Trouble` names what was refused."""
    counts = {"skills": 0, "queues": 0, "agents": 0}
    try:
        for skill in wanted.get("skills", []):
            await administrator.put_skill(skill)
            counts["skills"] += 1
        for queue, policy in wanted.get("queues", {}).items():
            await administrator.put_queue(queue, policy)
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
