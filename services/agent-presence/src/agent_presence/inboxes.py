"""What every agent has before it, in memory, in every replica: any replica answers any agent."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import structlog

from agent_presence.domain import Item, Standing, item_after, outcome_of, standing_after
from common.contracts import routing
from common.runtime.bus import Incoming

log = structlog.get_logger()

ANSWERS_MAX = 20_000
"""Router answers remembered for commands that are repeated; older ones are in the table of commands."""


class Inboxes:
    """Folds the router's facts, and tells who waits for an agent's inbox or for an answer."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, str], Item] = {}
        self._of_agent: dict[str, dict[str, Item]] = {}
        self._standings: dict[str, Standing] = {}
        self._versions: dict[str, dict[int, int]] = {}
        self._read: dict[int, int] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._answers: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._asking: dict[tuple[str, str], list[asyncio.Future[str]]] = {}

    def load(self, items: Iterable[Item], standings: Iterable[Standing], read: Mapping[int, int]) -> None:
        """Start from what is stored. `read`: by shard, up to where the log is in it."""
        self._read.update(read)
        for item in items:
            self._put(item)
            self._bump(item.agent_id, item.shard, item.seq)
        for standing in standings:
            self._standings[standing.agent_id] = standing
            self._bump(standing.agent_id, standing.shard, standing.seq)

    def fold(self, record: Incoming) -> None:
        """Take one of the router's facts."""
        fact, seq = record.fact, record.envelope.sequence if record.envelope else None
        if seq is not None:
            self._read[record.partition] = max(seq, self._read.get(record.partition, 0))
        if fact is None or seq is None:
            return
        standing = standing_after(fact, shard=record.partition, seq=seq)
        if standing is not None:
            self._standings[standing.agent_id] = standing
            self._bump(standing.agent_id, record.partition, seq)
        elif isinstance(fact, routing.RoutingFactBase) and hasattr(fact, "attempt"):
            before = self._items.get((fact.contact_id, getattr(fact, "agent_id", "")))
            after = item_after(before, fact, shard=record.partition, seq=seq)
            if before is not None:
                self._remove(before)
            if after is not None:
                self._put(after)
            for one in filter(None, (before, after)):
                self._bump(one.agent_id, record.partition, seq)
        answered = outcome_of(fact)
        if answered is not None:
            self._answer(*answered)

    def items(self, agent_id: str) -> list[Item]:
        """Offers and contacts of the agent, by id."""
        found = self._of_agent.get(agent_id, {})
        return [found[contact_id] for contact_id in sorted(found)]

    def standing(self, agent_id: str) -> Standing | None:
        """What the router may do with the agent; None when it never heard of it."""
        return self._standings.get(agent_id)

    def version(self, agent_id: str) -> dict[int, int]:
        """By shard, the place in its log of the last fact that changed the agent's inbox. An agent whose pool changed has several:
        logs grow each at its own pace, so places of different shards are never compared."""
        return self._versions.get(agent_id, {})

    def is_behind(self, version: Mapping[int, int]) -> bool:
        """Whether somebody else has read facts that we have not read yet."""
        return any(seq > self._read.get(shard, 0) for shard, seq in version.items())

    def changed(self, agent_id: str) -> asyncio.Event:
        """An event that is set when the agent's version changes after this call."""
        return self._changed.setdefault(agent_id, asyncio.Event())

    def wake(self, agent_id: str) -> None:
        """Let who waits for this agent look again: its session may be over."""
        event = self._changed.pop(agent_id, None)
        if event is not None:
            event.set()

    def wake_all(self) -> None:
        """Let everybody look again: the process is stopping."""
        for event in self._changed.values():
            event.set()
        self._changed.clear()

    def expect_answer(self, agent_id: str, command_id: str) -> "asyncio.Future[str]":
        """A future of the router's answer; ask before the command can reach the router.

        Every caller has its own: a request and its retry wait side by side, and the end of one is not the other's.
        """
        key = (agent_id, command_id)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if key in self._answers:
            future.set_result(self._answers[key])
        self._asking.setdefault(key, []).append(future)
        return future

    def stop_expecting(self, agent_id: str, command_id: str, future: "asyncio.Future[str]") -> None:
        """The caller does not wait for this answer any more."""
        waiting = self._asking[agent_id, command_id]
        waiting.remove(future)
        if not waiting:
            del self._asking[agent_id, command_id]

    def _answer(self, agent_id: str, command_id: str, outcome: str) -> None:
        key = (agent_id, command_id)
        self._answers.setdefault(key, outcome)  # the first answer counts: a repetition is refused as done
        if len(self._answers) > ANSWERS_MAX:
            self._answers.popitem(last=False)
        for future in self._asking.get(key, ()):
            if not future.done():
                future.set_result(self._answers[key])

    def _put(self, item: Item) -> None:
        self._items[item.contact_id, item.agent_id] = item
        self._of_agent.setdefault(item.agent_id, {})[item.contact_id] = item

    def _remove(self, item: Item) -> None:
        del self._items[item.contact_id, item.agent_id]
        self._of_agent[item.agent_id].pop(item.contact_id, None)

    def _bump(self, agent_id: str, shard: int, seq: int) -> None:
        version = self._versions.setdefault(agent_id, {})
        version[shard] = max(seq, version.get(shard, 0))
        self.wake(agent_id)
