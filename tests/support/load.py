"""A steady load on a platform, by clients who go on through faults and write journals."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from common.runtime.clock import new_id
from common.testing.eventually import eventually
from porchlight.clients.apply import apply, wait_until_known
from porchlight.clients.http import Clients, Desktop, GaveUp, Integration, Refused

OVER = ("completed", "abandoned", "cancelled")


@dataclass(slots=True)
class Load:
    """Posts contacts at a rate; agents accept and complete whatever they see."""

    clients: Clients
    rate: float = 20.0
    agents: int = 8
    name: str = field(default_factory=lambda: "l" + new_id()[-8:])
    posted: list[str] = field(default_factory=list)
    gave_up: int = 0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    async def start(self) -> None:
        skill = f"s-{self.name}"
        crew = {f"{self.name}-{n}": {"pool": self.name, "skills": {skill: 50}} for n in range(self.agents)}
        queue = {"pool": self.name, "requirements": [{"skill": skill}], "offer_timeout_ms": 5_000}
        await apply(self.clients.administrator(), {"skills": [skill], "queues": {self.name: queue}, "agents": crew})
        first = await wait_until_known(self.clients.integration(), self.body)
        self.posted.append(first["id"])
        self._tasks = [asyncio.create_task(self._work(self.clients.desktop(agent))) for agent in crew]
        self._tasks.append(asyncio.create_task(self._post_for_ever()))

    @property
    def body(self) -> dict[str, Any]:
        return {"queue": self.name, "channel": "voice"}

    async def finish(self, *, within_s: float = 60.0) -> None:
        """Stop posting, and wait until every contact is over in intake's eyes."""
        self._stop.set()
        await self._tasks.pop()
        integration = self.clients.integration()
        for contact_id in self.posted:

            async def over(contact_id: str = contact_id) -> bool:
                return (await integration.get(contact_id))["state"] in OVER

            await eventually(over, within_s=within_s, what=f"{contact_id} is over")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _post_for_ever(self) -> None:
        posts: set[asyncio.Task[None]] = set()
        integrations = [self.clients.integration() for _ in range(4)]
        number = 0
        while not self._stop.is_set():
            number += 1
            posts.add(asyncio.create_task(self._post(integrations[number % 4], cancel=number % 7 == 0)))
            posts = {post for post in posts if not post.done()}
            await asyncio.sleep(1 / self.rate)
        await asyncio.gather(*posts)

    async def _post(self, integration: Integration, *, cancel: bool) -> None:
        try:
            contact = await integration.post(self.body)
            self.posted.append(contact["id"])
            if cancel:
                await integration.cancel(contact["id"])
        except GaveUp:
            self.gave_up += 1

    async def _work(self, desktop: Desktop) -> None:
        signed_in = False
        while True:
            try:
                if not signed_in:
                    await desktop.sign_in()
                    signed_in = True
                inbox = await desktop.inbox(wait_s=3)
                if inbox is None:
                    continue
                if inbox["routing_state"] == "not_responding":
                    await desktop.set_presence("available")
                for offer in inbox["offers"]:
                    await desktop.accept(offer)
                    await desktop.complete(offer)
                for contact in inbox["contacts"]:
                    if contact["state"] == "assigned":
                        await desktop.complete(contact)
            except Refused as why:
                signed_in = signed_in and why.kind != "session-over"
            except GaveUp:
                signed_in = False
