"""A scorer as an installation would bring one."""

from typing import Any


def favourite(about: dict[str, Any], agents: list[dict[str, Any]]) -> dict[str, int]:
    """Agents whose name begins with the customer's reference first."""
    return {one["agent_id"]: int(one["agent_id"].startswith(about["customer"] or "-")) for one in agents}
