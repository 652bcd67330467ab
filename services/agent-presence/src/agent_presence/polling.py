"""The long poll of an agent's inbox: wait until it differs from what the desktop knows."""

import asyncio
import re
from collections.abc import Callable

from agent_presence.inboxes import Inboxes
from agent_presence.leases import Leases
from common.runtime.clock import monotonic_s

VERSION = re.compile(r'^(?:W/)?"(\d{1,10})-((?:\d{1,4}\.\d{1,18}_?)*)-[a-z]+"$')
"""Session, places in the shards' logs, routing state: see `Polling.etag`."""


def known_tag(if_none_match: str | None, current: str) -> str | None:
    """The version that the desktop knows: of a list (RFC 9110) the current one, if it is there, else the last."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return current if current in tags or tags == ["*"] else tags[-1] or None


class Polling:
    """Answers held polls. `stopping`: set when the process is about to end, and nobody is to be held any more."""

    def __init__(self, *, inboxes: Inboxes, leases: Leases, stopping: asyncio.Event) -> None:
        self._inboxes = inboxes
        self._leases = leases
        self._stopping = stopping

    def etag(self, agent_id: str, number: int) -> str:
        """The version of what the agent would see in session `number`."""
        standing = self._inboxes.standing(agent_id)
        state = "offline" if standing is None else standing.routing_state.replace("_", "")
        places = "_".join(f"{shard}.{seq}" for shard, seq in sorted(self._inboxes.version(agent_id).items()))
        return f'"{number}-{places}-{state}"'

    async def changed(
        self,
        agent_id: str,
        number: int,
        *,
        known: str | None,
        wait_s: float,
        is_gone: Callable[[], bool],
        gives_way: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Wait until the inbox differs from the version `known`, or `gives_way`; False when the session ended meanwhile.

        A version that is ahead of ours comes from another replica: then we wait until we know as much.
        """
        deadline = monotonic_s() + wait_s
        elsewhere = _version(known, number)
        with self._leases.held(agent_id, number, is_gone):
            while known == self.etag(agent_id, number) or self._inboxes.is_behind(elsewhere):
                left_s = deadline - monotonic_s()
                if left_s <= 0 or self._stopping.is_set() or gives_way():
                    break
                try:
                    async with asyncio.timeout(left_s):
                        await self._inboxes.changed(agent_id).wait()
                except TimeoutError:
                    continue
                if is_gone():
                    return True
                if not await self._leases.is_alive(agent_id, number):
                    return False
        return not self._leases.is_over(agent_id, number)


def _version(known: str | None, number: int) -> dict[int, int]:
    """By shard, what the desktop has seen already, in this session; nothing when it does not say so in our words."""
    match = VERSION.match(known or "")
    if match is None or int(match[1]) != number:
        return {}
    return {int(shard): int(seq) for shard, seq in (place.split(".") for place in match[2].split("_") if place)}
