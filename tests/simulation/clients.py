"""Integrations, agents and administrators: they retry, change their minds, vanish, and write down what they saw."""

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

from agent_presence.domain import Command, Item, Profile
from agent_presence.handlers import Answered
from common.contracts import agents
from intake.domain import NewContact, Receipt, Refused, Wishes
from intake.handlers import ask_callback, cancel
from tests.simulation.scenario import CHANNELS, SKILLS, Scenario, make_policy
from tests.simulation.services import POLL_MAX_S, IntakeFace, PresenceFace, RouterFace
from tests.simulation.world import Unreachable, World

TRIES_MAX = 400
CLIENT = "integration"
RESTLESS = 0.25
"""In so many worlds agents sign out, move to another pool and come back all the time."""
MISCHIEF = 0.12
"""How often an agent does something else than answering, of all polls."""
POOL_MOVES = 0.2
"""How often an agent is moved to another pool, of all changes of agents and of all times that one signs out."""


class Patience(AssertionError):
    """Somebody tried again and again for minutes, and never had an answer."""


class Clients:
    """Everybody outside. `calm`: no more mischief; agents take what they are offered and bring it to its end."""

    def __init__(self, world: World, scenario: Scenario, seed: int) -> None:
        self.world = world
        self.scenario = scenario
        self.calm = False
        self.random = Random(f"clients/{seed}")
        restless = self.random.random() < RESTLESS or scenario.restless
        self.mischief, self.moves = (0.4, 0.9) if restless else (MISCHIEF, POOL_MOVES)
        self.posted: dict[str, str] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}
        self.posting = 0

    def start(self, work: Any) -> None:
        """Run in the background."""
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(task)
        if not task.cancelled() and task.exception() is not None:
            self.world.wrong(f"a client gave up: {task.exception()!r}")

    async def stop(self) -> None:
        """Everybody goes home."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def insist(self, service: str, work: Any) -> Any:
        """Ask until there is an answer, whichever replica gives it."""
        for _ in range(TRIES_MAX):
            try:
                return await self.world.call(service, work)
            except Unreachable:
                await asyncio.sleep(self.random.uniform(0.05, 0.8))
        raise Patience(f"{service} never answered")

    # administrators

    async def define(self) -> None:
        """Skills, queues and agents, as an administrator's file has them."""
        for skill in SKILLS:
            await self.insist("presence", lambda face, skill=skill: _put_skill(face, skill))
        for name, values in self.scenario.queues.items():
            await self.put_queue(name, values)
        for profile in self.scenario.agents.values():
            await self.put_agent(profile)

    async def put_queue(self, name: str, values: dict[str, Any]) -> None:
        """Define or change a queue."""
        await self.insist("router", lambda face: _put_queue(face, name, values))
        self.world.note("administrator", "put queue", queue=name, values=values)

    async def put_agent(self, profile: Profile) -> None:
        """Define or change an agent."""
        done = await self.insist("presence", lambda face: _put_agent(face, profile))
        if done:
            self.scenario.agents[profile.agent_id] = profile
        self.world.note("administrator", "put agent", agent=profile.agent_id, pool=profile.pool, done=done)

    async def administer(self) -> None:
        """Change queues and agents now and then."""
        while not self.calm:
            await asyncio.sleep(self.random.uniform(4.0, 20.0))
            if self.calm:
                return
            if self.random.random() < 0.5:
                name = self.random.choice(sorted(self.scenario.queues))
                values = self.scenario.queues[name]
                others = [one for one in self.scenario.queues if one != name and _pool(self, one) == values["pool"]]
                changed = {**values, "policy": make_policy(self.random, others)}
                self.scenario.queues[name] = changed
                await self.put_queue(name, changed)
            else:
                agent_id = self.random.choice(sorted(self.scenario.agents))
                before = self.scenario.agents[agent_id]
                pool = self.random.choice(self.scenario.pools) if self.random.random() < POOL_MOVES else before.pool
                changed_agent = Profile(
                    agent_id=agent_id,
                    pool=pool,
                    skills=before.skills,
                    units=self.random.choice([4, 6, 12]),
                    enabled=True,
                    traits=before.traits,
                )
                await self.put_agent(changed_agent)

    # integrations

    async def integrate(self, contacts: int, *, within_s: float) -> None:
        """Post contacts; now and then take one back, or ask for a callback."""
        for number in range(contacts):
            await asyncio.sleep(self.random.expovariate(contacts / within_s))
            if self.calm:
                return
            self.start(self._post(f"key-{number}"))

    async def rush(self, queue: str) -> None:
        """Post to one queue all the time, nothing special."""
        number = 0
        while not self.calm:
            await asyncio.sleep(self.random.uniform(0.3, 0.9))
            self.start(self._post(f"rush-{number}", queue))
            number += 1

    async def _post(self, key: str, queue: str = "") -> None:
        self.posting += 1
        try:
            await self._post_until_answered(key, queue)
        finally:
            self.posting -= 1

    async def _post_until_answered(self, key: str, rushed: str) -> None:
        random = self.random
        queue = rushed or random.choice(sorted(self.scenario.queues))
        skills = [] if rushed else [(skill, random.choice([0, 50])) for skill in SKILLS if random.random() < 0.12]
        contact = NewContact(
            client_id=CLIENT,
            idempotency_key=key,
            body_hash=key.encode(),
            queue=queue,
            channel=random.choice(CHANNELS),
            priority=random.choice([None, None, 0, 5]),
            requirements=tuple(skills),
            external_id=None,
            customer=None,
            correlation_id=f"corr-{key}",
            wishes=Wishes(),
        )
        for _ in range(TRIES_MAX if random.random() < 0.97 else 2):
            try:
                done = await self.world.call("intake", lambda face: face.accepting.accept(contact))
            except Unreachable:
                await asyncio.sleep(random.uniform(0.05, 1.5))
                continue
            if isinstance(done, Refused):
                self.world.write("refused", key=key, reason=done.reason.value)
                return
            self._promised(key, done)
            if random.random() < 0.9:
                break
        if key in self.posted:
            await self._afterwards(self.posted[key])

    def _promised(self, key: str, receipt: Receipt) -> None:
        self.posted[key] = receipt.contact_id
        self.world.write("posted", key=key, contact_id=receipt.contact_id, queue=receipt.queue)

    async def _afterwards(self, contact_id: str) -> None:
        await asyncio.sleep(self.random.choice([0.5, 2.0, 8.0, 25.0]))
        draw = self.random.random()
        if draw < 0.08:
            reason = self.random.choice(["customer_gave_up", "withdrawn"])
            await self.insist("intake", lambda face: _cancel(face, contact_id, reason))
            self.world.write("cancelled", contact_id=contact_id, reason=reason)
        elif draw < 0.25:
            ahead_ms = self.random.choice([None, 3_000, 20_000])
            await self.insist("intake", lambda face: _call_back(face, contact_id, ahead_ms))
            self.world.write("callback_asked", contact_id=contact_id, ahead_ms=ahead_ms)


def _pool(clients: Clients, queue: str) -> str:
    return str(clients.scenario.queues[queue]["pool"])


async def _put_skill(face: PresenceFace, skill: str) -> None:
    face.relay.hand_over(await face.directory.put_skill(skill, actor="admin"))


async def _put_queue(face: RouterFace, name: str, values: dict[str, Any]) -> None:
    done = await face.queues.put(name, values, actor="admin")
    assert isinstance(done, tuple), f"{name} was refused: {done}"
    face.relay.hand_over([done[1]])


async def _put_agent(face: PresenceFace, profile: Profile) -> bool:
    told = await face.directory.put_agent(profile, actor="admin")
    if told is None:
        return False
    face.relay.hand_over(told)
    changed = await face.sessions.change(profile.agent_id, session_no=None)
    if changed is not None:
        face.relay.hand_over(changed[1])
    return True


async def _cancel(face: IntakeFace, contact_id: str, reason: str) -> Refused | None:
    return await cancel(
        contact_id=contact_id,
        client_id=CLIENT,
        reason=reason,
        contacts=face.contacts,
        relay=face.relay,
        clock=face.clock,
    )


async def _call_back(face: IntakeFace, contact_id: str, ahead_ms: int | None) -> Refused | None:
    return await ask_callback(
        contact_id=contact_id,
        client_id=CLIENT,
        not_before_ms=None if ahead_ms is None else face.clock.now_ms() + ahead_ms,
        contacts=face.contacts,
        relay=face.relay,
        clock=face.clock,
    )


class AgentAtHome:
    """One agent's desktop, and the person before it."""

    def __init__(self, clients: Clients, agent_id: str) -> None:
        self.clients = clients
        self.world = clients.world
        self.agent_id = agent_id
        self.random = Random(f"{clients.random.random()}/{agent_id}")
        self.session_no = 0
        self._commands = 0
        self._last_seen: dict[tuple[str, int], str] = {}

    async def work(self) -> None:
        """Sign in, poll, react; for ever."""
        while True:
            session = await self._sign_in()
            if session is None:
                await asyncio.sleep(1.0)
                continue
            self.session_no = session
            self._last_seen.clear()
            await self._poll_until_over()
            if not self.clients.calm:
                await asyncio.sleep(self.random.uniform(0.5, 8.0))

    async def _sign_in(self) -> int | None:
        async def sign_in(face: PresenceFace) -> int | None:
            done = await face.sessions.sign_in(self.agent_id, "available")
            if done is None:
                return None
            session, rows = done
            face.leases.signed_in(session)
            face.relay.hand_over(rows)
            return session.session_no

        number: int | None = await self.clients.insist("presence", sign_in)
        self.world.write("signed_in", agent_id=self.agent_id, session_no=number)
        return number

    async def _poll_until_over(self) -> None:
        known: str | None = None
        self._polls(True)

        async def poll(face: PresenceFace) -> tuple[str, list[Item], str] | None:
            return await self._poll(face, known)

        while True:
            try:
                seen = await self.world.call("presence", poll, timeout_s=POLL_MAX_S + 5)
            except Unreachable:
                self._polls(False)
                await asyncio.sleep(self.random.uniform(0.1, 0.6))
                self._polls(True)
                continue
            if seen is None:
                self._polls(False)
                self.world.write("session_over", agent_id=self.agent_id, session_no=self.session_no)
                return
            known, items, state = seen
            for item in items:
                self._react(item)
            if state == "not_responding" or (self.clients.calm and state == "not_available"):
                await self._presence("available")
            if not self.clients.calm and self.random.random() < self.clients.mischief:
                self._polls(False)
                if await self._mischief():
                    return
                self._polls(True)

    def _polls(self, does: bool) -> None:
        """From now on one poll follows the other, or none does."""
        self.world.journal.lines.append(
            {"what": "polls", "at_s": self.world.loop.time(), "agent_id": self.agent_id, "does": does}
        )

    async def _poll(self, face: PresenceFace, known: str | None) -> tuple[str, list[Item], str] | None:
        while not face.tail.loaded:
            await asyncio.sleep(0.2)
        if not await face.leases.is_alive(self.agent_id, self.session_no):
            return None
        wait_s = self.random.choice([3.0, POLL_MAX_S])
        if not await face.polling.changed(
            self.agent_id, self.session_no, known=known, wait_s=wait_s, is_gone=lambda: False
        ):
            return None
        etag = face.polling.etag(self.agent_id, self.session_no)
        standing = face.inboxes.standing(self.agent_id)
        state = "offline" if standing is None else standing.routing_state
        return etag, [] if etag == known else face.inboxes.items(self.agent_id), state  # 304 has no body

    async def _mischief(self) -> bool:
        """True when the session is to be left."""
        draw = max(self.random.random(), self.clients.moves - 0.2)
        if draw < 0.3:
            self.world.write("vanishes", agent_id=self.agent_id)
            await asyncio.sleep(self.random.uniform(2.0, 25.0))
            return False
        if draw < 0.6:
            await self._presence(self.random.choice(["break", "away"]))
            await asyncio.sleep(self.random.uniform(0.5, 6.0))
            await self._presence("available")
            return False
        if draw < 0.8:
            number = self.session_no

            async def sign_out(face: PresenceFace) -> None:
                rows = await face.sessions.sign_out(self.agent_id, number)
                if rows is not None:
                    face.leases.over(self.agent_id, number)
                    face.relay.hand_over(rows)

            await self.clients.insist("presence", sign_out)
            self.world.write("signed_out", agent_id=self.agent_id, session_no=number)
            if self.random.random() < self.clients.moves:
                profile = self.clients.scenario.agents[self.agent_id]
                pool = self.random.choice(self.clients.scenario.pools)
                await self.clients.put_agent(replace(profile, pool=pool))
            await asyncio.sleep(self.random.uniform(0.5, 20.0))
        return True

    async def _presence(self, presence: agents.Presence) -> None:
        number = self.session_no

        async def change(face: PresenceFace) -> None:
            done = await face.sessions.change(self.agent_id, session_no=number, presence=presence)
            if done is not None:
                face.relay.hand_over(done[1])

        await self.clients.insist("presence", change)
        self.world.write("presence", agent_id=self.agent_id, presence=presence)

    def _react(self, item: Item) -> None:
        key = (item.contact_id, item.attempt)
        if self._last_seen.get(key) == item.state:
            return
        self._last_seen[key] = item.state
        self.world.write(
            "seen", agent_id=self.agent_id, contact_id=item.contact_id, attempt=item.attempt, state=item.state
        )
        if item.state == "offered":
            self.clients.start(self._answer(item))
        elif item.state == "assigned":
            self.clients.start(self._converse(item))
        elif item.state == "paused":
            self.clients.start(self._resume(item))
        elif item.state == "wrap_up":
            self.clients.start(self._wrap_up(item))

    async def _answer(self, item: Item) -> None:
        await asyncio.sleep(self.random.uniform(0.1, 1.5))
        draw = 0.0 if self.clients.calm else self.random.random()
        if draw < 0.75:
            await self._command("accept", item)
        elif draw < 0.87:
            await self._command("decline", item)

    async def _converse(self, item: Item) -> None:
        await asyncio.sleep(self.random.uniform(0.5, 12.0))
        draw = 0.0 if self.clients.calm else self.random.random()
        if draw < 0.7:
            await self._command("complete", item)
        elif draw < 0.8:
            await self._command("pause", item)
        elif draw < 0.9:
            queues = self.clients.scenario.queues
            pool = queues[item.queue]["pool"]
            target = self.random.choice([name for name in sorted(queues) if queues[name]["pool"] == pool])
            await self._command("transfer", item, to_queue=target)
            await self._command("complete", item)
        else:
            colleague = self.random.choice(sorted(self.clients.scenario.agents))
            await self._command("transfer", item, to_agent=colleague)
            await self._command("complete", item)

    async def _resume(self, item: Item) -> None:
        await asyncio.sleep(self.random.uniform(0.5, 6.0))
        for _ in range(3):
            outcome = await self._command("resume", item)
            if outcome != "no_capacity":
                return
            await asyncio.sleep(2.0)
        await self._command("complete", item)  # their capacity was cut below what it takes

    async def _wrap_up(self, item: Item) -> None:
        if self.random.random() < 0.5:
            await asyncio.sleep(self.random.uniform(0.1, 2.0))
            await self._command("end_wrap_up", item)

    async def _command(self, verb: Any, item: Item, **target: Any) -> str | None:
        """Ask until there is an answer; the same command each time."""
        self._commands += 1
        command_id = f"{self.agent_id}-{self.session_no}-{self._commands}"
        number = self.session_no

        async def ask(face: PresenceFace) -> Answered | None:
            pool = await face.sessions.pool_of(self.agent_id, number)
            if pool is None:
                return None
            return await face.commands.ask(
                Command(
                    agent_id=self.agent_id,
                    command_id=command_id,
                    session_no=number,
                    pool=pool,
                    verb=verb,
                    contact_id=item.contact_id,
                    attempt=item.attempt,
                    issued_at_ms=face.clock.now_ms(),
                    **target,
                )
            )

        about = {"agent_id": self.agent_id, "verb": verb, "contact_id": item.contact_id, "attempt": item.attempt}
        self.world.write("asked", command_id=command_id, **about, **target)
        for _ in range(TRIES_MAX):
            done: Answered | None = await self.clients.insist("presence", ask)
            outcome = "session_over" if done is None else done.outcome or done.kept.value
            if done is None or done.outcome is not None or done.kept.value in ("session_over", "reused"):
                self.world.write("answered", command_id=command_id, outcome=outcome, **about)
                return outcome
            await asyncio.sleep(0.5)
        raise Patience(f"{command_id} stays pending")
