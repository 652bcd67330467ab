"""A pool of its own on a running platform, for one story."""

import asyncio
from typing import Any

from common.testing.eventually import eventually
from porchlight.clients.apply import apply, wait_until_known
from porchlight.clients.http import Clients, Desktop, Refused

KNOWN_WITHIN_S = 20


class Centre:
    """A pool of its own with one queue, for one story."""

    def __init__(self, clients: Clients, name: str) -> None:
        self.clients, self.name = clients, name
        self.queue = f"q-{name}"
        self.integration = clients.integration()
        self.administrator = clients.administrator()

    async def open(self, **policy: Any) -> None:
        skills, agents = [f"s-{self.name}"], {}
        for agent in ("ann", "bob"):
            agents[f"{agent}-{self.name}"] = {"pool": self.name, "skills": {skills[0]: 80}}
        queue = {"pool": self.name, "requirements": [{"skill": skills[0]}], **policy}
        await apply(self.administrator, {"skills": skills, "queues": {self.queue: queue}, "agents": agents})

    async def post(self, **more: Any) -> str:
        contact = await wait_until_known(self.integration, {"queue": self.queue, "channel": "voice", **more})
        return str(contact["id"])

    async def agent(self, name: str, *, presence: str = "available") -> Desktop:
        """Signed in, and known to the router: what is posted afterwards finds this agent there."""
        desktop = self.clients.desktop(f"{name}-{self.name}")
        await desktop.sign_in(presence)
        await self._wait_until_routed(desktop, presence)
        return desktop

    async def set_presence(self, desktop: Desktop, presence: str) -> None:
        """The agent says what it does, and the router has heard it."""
        await desktop.set_presence(presence)
        await self._wait_until_routed(desktop, presence)

    async def ready(self, desktop: Desktop) -> None:
        """The router knows that offers may be made to the agent."""
        await self._wait_until_routed(desktop, "available")

    async def _wait_until_routed(self, desktop: Desktop, presence: str) -> None:
        wanted = "ready" if presence == "available" else "not_available"
        eyes = self.clients.desktop(desktop.name)  # of their own: the agent's desktop misses no change by this
        eyes.session_no = desktop.session_no
        async with asyncio.timeout(KNOWN_WITHIN_S):
            while ((await eyes.inbox()) or {}).get("routing_state") != wanted:
                pass

    async def offer(self, desktop: Desktop, contact_id: str) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                for offer in ((await desktop.inbox()) or {}).get("offers", []):
                    if offer["contact_id"] == contact_id:
                        return dict(offer)

    async def reason(self, desktop: Desktop, wanted: str) -> None:
        """Until the agent reads the reason in the inbox."""
        async with asyncio.timeout(20):
            while ((await desktop.inbox()) or {}).get("routing_reason") != wanted:
                pass

    async def state(self, contact_id: str, wanted: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            found = await self.integration.get(contact_id)
            return found if found["state"] == wanted else None

        found = await eventually(look, within_s=30, what=f"contact is {wanted}")
        assert found is not None
        return found

    async def journey(self, contact_id: str, last: str) -> list[str]:
        async def look() -> list[str] | None:
            try:
                steps = [step["type"] for step in (await self.administrator.journey(contact_id))["steps"]]
            except Refused:
                return None
            return steps if steps and steps[-1] == last else None

        found = await eventually(look, within_s=20, what=f"the journey ends with {last}")
        assert found is not None
        return found
