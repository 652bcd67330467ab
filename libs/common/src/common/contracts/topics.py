"""The catalogue of topics, and the way from a pool to its shard."""

from typing import get_args
from zlib import crc32

import msgspec

from common.contracts import agents, config, contacts, routing

SHARDS = 12
"""Partitions of every topic. Pools spread over them; one pool is decided in one place."""


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """`retention_hours` is None for a compacted topic. `key` says what a record's key is. `writers` and `readers`: the services
    whose Kafka users may write and read it, and nobody else may."""

    name: str
    owner: str
    key: str
    retention_hours: int | None
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    facts: tuple[type[msgspec.Struct], ...]


def _members(union: object) -> tuple[type[msgspec.Struct], ...]:
    found: list[type[msgspec.Struct]] = []
    for member in get_args(union):
        found.extend(_members(member) if get_args(member) else (member,))
    return tuple(found)


CONTACTS = Topic(
    name="contacts.v1",
    owner="intake",
    key="contact id",
    retention_hours=72,
    writers=("intake",),
    readers=("router", "reporting"),
    facts=_members(contacts.ContactFact),
)
AGENTS = Topic(
    name="agents.v1",
    owner="agent-presence",
    key="agent id",
    retention_hours=72,
    writers=("agent-presence",),
    readers=("router", "reporting"),
    facts=_members(agents.AgentFact),
)
ROUTING = Topic(
    name="routing.v1",
    owner="router",
    key="contact id or agent id",
    retention_hours=72,
    writers=("router",),
    readers=("intake", "agent-presence", "reporting"),
    facts=_members(routing.RoutingFact),
)
CONFIG = Topic(
    name="config.v1",
    owner="router (queues), agent-presence (skills)",
    key="queue/<id> or skill/<id>",
    retention_hours=None,
    writers=("router", "agent-presence"),
    readers=("intake", "router", "reporting"),
    facts=_members(config.ConfigFact),
)
CATALOGUE = (CONTACTS, AGENTS, ROUTING, CONFIG)


def shard_of(pool: str) -> int:
    """The partition that carries everything about `pool`, in every topic."""
    return crc32(pool.encode()) % SHARDS
