"""Capacity (I3) as an onlooker judges it, who trusts nobody.

How many units an agent has is what agent-presence told in `agents.v1`; what a contact takes and what may go beyond an
agent's units is the queue's policy, as administrators defined it. Of what the router says of itself only this counts: by
which picture of the agent and by which version of the queue it went; both must exist, and a picture must not be older than
one that it went by before.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

CHANNEL_UNITS = {"voice": 6, "callback": 6, "screen_share": 6, "chat": 2, "social": 2, "sms": 1, "email": 1}
"""What a contact takes where its queue says nothing, as docs/routing.md promises."""

Picture = tuple[int, int]
"""(session_no, seq)"""


class Units:
    """What every agent has in hand, contact by contact. `unknown` counts what could not be judged for want of facts."""

    def __init__(self, pictures: dict[str, dict[Picture, int]], policies: dict[str, dict[int, dict[str, Any]]]) -> None:
        """`pictures`: units by agent and picture; `policies`: the `capacity` part by queue and version."""
        self._pictures, self._policies = pictures, policies
        self._taken: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
        self._went_by: dict[str, Picture] = {}
        self.unknown = 0

    def now(self, contact_id: str, channel: str, before: list[str], after: dict[str, int]) -> None:
        """The contact took units of the agents `before`, and takes those of `after` now."""
        for agent in before:
            self._taken[agent].pop(contact_id, None)
        for agent, units in after.items():
            if units:
                self._taken[agent][contact_id] = (channel, units)

    def judge(self, fact: dict[str, Any], channel: str, found: Callable[[str], None]) -> None:
        """An offer or a resumption is about to take units; `found` is told what is wrong with that."""
        agent, units = fact["agent_id"], fact["units"]
        has = self._capacity(agent, (fact.get("session_no", 0), fact.get("agent_seq", 0)), found)
        policy = self._policy(fact["queue"], fact.get("queue_version", 0), found)
        if policy is not None:
            asked = policy.get("units", {}).get(channel) or CHANNEL_UNITS[channel]
            if units != asked:
                found(f"takes {units} units, {fact['queue']} asks for {asked}")
        if has is None:
            self.unknown += 1
            return
        others = [one for name, one in self._taken[agent].items() if name != fact["contact_id"]]
        used = sum(number for _, number in others) + units
        exceeds = bool(fact.get("exceeds"))
        if used <= has:
            if exceeds:
                found(f"{agent} has {used} of {has} units in use, and the offer says that it exceeds them")
            return
        if policy is None:
            self.unknown += 1
            return
        counted = sum(number for name, number in others if name not in policy.get("interrupts", []))
        if counted + units > has and not (policy.get("exceed") and counted <= has):
            found(f"{agent} has {used} units in use, of {has}")
        elif not exceeds:
            found(f"{agent} has {used} units in use, of {has}, and nobody says so")

    def _capacity(self, agent: str, picture: Picture, found: Callable[[str], None]) -> int | None:
        known = self._pictures.get(agent, {})
        if not picture[1]:  # a release before this wrote no picture: the most that the agent ever had
            return max(known.values(), default=None)
        if picture < self._went_by.get(agent, picture):
            found(f"goes by picture {picture} of {agent}, after {self._went_by[agent]}")
        self._went_by[agent] = max(picture, self._went_by.get(agent, picture))
        if picture not in known and min(known, default=picture) < picture:
            found(f"goes by picture {picture} of {agent}, which was never told")
        return known.get(picture)

    def _policy(self, queue: str, version: int, found: Callable[[str], None]) -> dict[str, Any] | None:
        known = self._policies.get(queue, {})
        if not version:  # a release before this wrote no version
            return None
        if version > max(known, default=version):
            found(f"goes by version {version} of {queue}, which was never defined")
        return known.get(version)
