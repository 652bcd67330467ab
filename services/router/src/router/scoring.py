"""Scorers of an installation: functions of its own that say which agent suits a contact, within a budget of time."""

import asyncio
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import structlog

from router.core import State, inputs
from router.core.explain import explain

log = structlog.get_logger()

Scorer = Callable[[dict[str, Any], list[dict[str, Any]]], dict[str, int]]
"""(contact, agents who could serve it) to scores by agent id; the highest is asked first. Runs in a thread."""
AGENTS_MAX = 200


def load(named: str) -> dict[str, Scorer]:
    """`name=module:function` pairs, separated by commas, as in the setting ROUTER_SCORERS."""
    found: dict[str, Scorer] = {}
    for pair in filter(None, (part.strip() for part in named.split(","))):
        name, _, place = pair.partition("=")
        module, _, function = place.partition(":")
        if not (name and module and function):
            raise ValueError(f"ROUTER_SCORERS: {pair!r} is not name=module:function")
        found[name] = getattr(import_module(module), function)
    return found


async def ask_scorer(state: State, contact_id: str, scorers: Mapping[str, Scorer]) -> inputs.ScoresGiven | None:
    """The scores, or None when there is no such scorer, it failed, or it took longer than its budget."""
    contact = state.contacts[contact_id]
    choice = state.queues[contact.queue_id].policy.choice
    scorer = scorers.get(choice.scorer)
    if scorer is None:
        return None
    able = [agent for agent, reason in explain(state, contact).agents if reason not in ("need", "queue_need")]
    about = {
        "contact_id": contact_id,
        "queue": contact.queue_id,
        "channel": contact.channel,
        "customer": contact.customer,
    }
    agents = [
        {"agent_id": name, "skills": dict(state.agents[name].skills), "link_score": state.agents[name].link_score}
        for name in able[:AGENTS_MAX]
    ]
    try:
        async with asyncio.timeout(choice.budget_ms / 1_000):
            scores = await asyncio.to_thread(scorer, about, agents)
    except TimeoutError:
        return None
    except Exception as why:
        log.error("scorer_failed", scorer=choice.scorer, why=repr(why))
        return None
    return inputs.ScoresGiven(contact_id=contact_id, scores={str(name): int(score) for name, score in scores.items()})
