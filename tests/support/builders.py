"""One builder a value, every argument defaulted."""

from typing import Any

from common.contracts.policies import QueuePolicy
from router.core.model import events
from router.core.model.queue import Queue
from router.core.rules.criteria import skills_need


def queue(queue_id: str = "billing", *, requirements: tuple[tuple[str, int], ...] = (), **changes: Any) -> Queue:
    policy = QueuePolicy(**{name: changes.pop(name) for name in list(changes) if name in QueuePolicy.__struct_fields__})
    if requirements:
        changes["need"] = skills_need(requirements)
    values: dict[str, Any] = {
        "queue_id": queue_id,
        "pool": "p",
        "version": 1,
        "priority": 0,
        "offer_timeout_ms": 20_000,
        "wrap_up_ms": 0,
        "link_grace_ms": 15_000,
        "service_level_ms": 20_000,
        "policy": policy,
    }
    return Queue(**{**values, **changes})


def arrived(contact_id: str = "c1", **changes: Any) -> events.ContactArrived:
    values: dict[str, Any] = {
        "contact_id": contact_id,
        "queue_id": "billing",
        "pool": "p",
        "channel": "voice",
        "priority": 0,
        "requirements": (),
        "accepted_at_ms": 0,
    }
    return events.ContactArrived(**{**values, **changes})


def seen(agent_id: str = "ann", **changes: Any) -> events.AgentSeen:
    values: dict[str, Any] = {
        "agent_id": agent_id,
        "pool": "p",
        "session_no": 1,
        "seq": 1,
        "presence": "available",
        "skills": (),
        "units": 6,
        "link_lost": False,
    }
    return events.AgentSeen(**{**values, **changes})


def asked(verb: str = "accept", **changes: Any) -> events.AgentAsked:
    values: dict[str, Any] = {
        "verb": verb,
        "command_id": f"{verb}-1",
        "agent_id": "ann",
        "pool": "p",
        "session_no": 1,
        "contact_id": "c1",
        "attempt": 1,
    }
    return events.AgentAsked(**{**values, **changes})
