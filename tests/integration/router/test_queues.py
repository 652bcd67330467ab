"""Queues on real PostgreSQL, as administrators change them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import asyncpg
import pytest

from common.contracts.policies import ANYBODY, Condition, Overflow, QueuePolicy
from common.runtime.clock import SystemClock
from common.runtime.database import open_engine
from router.adapters.queues import PostgresQueues
from router.policies.validation import Fault, Known, vet
from tests.integration.conftest import Place


@pytest.fixture
async def queues(place: Place) -> AsyncIterator[PostgresQueues]:
    owner = await asyncpg.connect(place.owners["router"])
    await owner.execute("TRUNCATE queue, outbox CASCADE")
    await owner.close()
    engine = open_engine(place.dsns["router"], name="t", size=4)
    yield PostgresQueues(engine, SystemClock())
    await engine.dispose()


def values(pool: str, to: str = "") -> dict[str, Any]:
    times = {"priority": 0, "offer_timeout_ms": 20_000, "wrap_up_ms": 0, "link_grace_ms": 0, "service_level_ms": 1}
    policy = {"overflow": [{"when": {"closed": True}, "queue": to}]} if to else {}
    return {"pool": pool, "requirements": [], "policy": policy, **times}


async def put(queues: PostgresQueues, name: str, to: str, seen: list[int]) -> object:
    policy = QueuePolicy(overflow=(Overflow(when=Condition(closed=True), queue=to),))

    def judge(others: Mapping[str, QueuePolicy]) -> list[Fault]:
        seen.append(sum(bool(one.overflow) for one in others.values()))
        return vet(name, ANYBODY, policy, Known(skills=set(), queues=others))

    return await queues.put(name, values("p", to), actor="admin", judge=judge)


async def test_of_two_changes_at_the_same_moment_the_second_is_judged_by_what_the_first_made(
    queues: PostgresQueues,
) -> None:
    for name in ("a", "b"):
        await queues.put(name, values("p"), actor="admin")
    seen: list[int] = []

    done = await asyncio.gather(put(queues, "a", "b", seen), put(queues, "b", "a", seen))

    refused = [one for one in done if isinstance(one, list)]
    assert len(refused) == 1 and "circle" in refused[0][0].reason
    assert seen == [0, 1]
    assert [one.version for one in await queues.list_all(after="", limit=9)].count(1) == 1
