"""Shared commits: what gathers while one is under way is the next batch."""

import asyncio
from collections.abc import Sequence

import pytest

from common.runtime.batching import BATCH_MAX, WAITING_MAX, SharedCommit
from common.runtime.failures import InvariantBroken, Retryable


class Store:
    """Commits when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.fail = False

    async def commit(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.gate.wait()
        if self.fail:
            raise Retryable("away")
        return [item * 10 for item in items]


async def _turn() -> None:
    """One turn of the event loop."""


async def start(shared: SharedCommit[int, int], *items: int) -> list["asyncio.Task[int]"]:
    tasks = [asyncio.create_task(shared(item)) for item in items]
    for _ in range(3):
        await asyncio.wait({asyncio.create_task(_turn())})
    return tasks


async def test_a_lone_call_waits_for_nobody_and_the_next_ones_share() -> None:
    store = Store()
    shared: SharedCommit[int, int] = SharedCommit(store.commit, what="test", key=lambda item: item)

    tasks = await start(shared, 1)
    tasks += await start(shared, 2, 3, 4)
    store.gate.set()

    assert await asyncio.gather(*tasks) == [10, 20, 30, 40]
    assert store.batches == [[1], [2, 3, 4]]


async def test_a_batch_has_a_largest_size() -> None:
    store = Store()
    shared: SharedCommit[int, int] = SharedCommit(store.commit, what="test", key=lambda item: item)

    tasks = await start(shared, *range(BATCH_MAX + 10))
    store.gate.set()
    await asyncio.gather(*tasks)

    assert max(len(batch) for batch in store.batches) == BATCH_MAX


async def test_equal_keys_never_share_a_batch() -> None:
    store = Store()
    shared: SharedCommit[int, int] = SharedCommit(store.commit, what="test", key=lambda item: item % 2)

    tasks = await start(shared, 1, 2, 3, 4)
    store.gate.set()
    await asyncio.gather(*tasks)

    assert all(len({item % 2 for item in batch}) == len(batch) for batch in store.batches)


async def test_a_failed_commit_is_everybodys_answer_and_the_next_batch_goes_on() -> None:
    store = Store()
    shared: SharedCommit[int, int] = SharedCommit(store.commit, what="test", key=lambda item: item)
    store.fail = True
    tasks = await start(shared, 1)
    store.gate.set()
    with pytest.raises(Retryable):
        await tasks[0]

    store.fail = False

    assert await shared(2) == 20


class Picky(Store):
    """Commits nothing of a batch that has a bad item, as a database does."""

    async def commit(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.gate.wait()
        if any(item < 0 for item in items):
            raise ValueError(f"bad data among {len(items)}")
        return [item * 10 for item in items]


async def test_bad_data_is_its_own_callers_trouble_only() -> None:
    store = Picky()
    shared: SharedCommit[int, int] = SharedCommit(store.commit, what="test", key=lambda item: item)

    tasks = await start(shared, 0)
    tasks += await start(shared, 1, -2, 3, -4, 5)
    store.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert [answer for answer in answers if isinstance(answer, int)] == [0, 10, 30, 50]
    assert [str(answers[index]) for index in (2, 4)] == ["bad data among 1"] * 2
    assert store.batches == [[0], [1, -2, 3, -4, 5], [1], [-2], [3], [-4], [5]]
    assert await shared(6) == 60


async def test_the_worlds_trouble_is_not_tried_again_one_by_one() -> None:
    store = Store()
    shared: SharedCommit[int, int] = SharedCommit(store.commit, what="test", key=lambda item: item)
    tasks = await start(shared, 0)
    tasks += await start(shared, 1, 2, 3)
    store.fail = True
    store.gate.set()

    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert all(isinstance(answer, Retryable) for answer in answers)
    assert store.batches == [[0], [1, 2, 3]]


async def test_a_caller_who_goes_away_does_not_stop_the_commit() -> None:
    store = Store()
    shared: SharedCommit[int, int] = SharedCommit(store.commit, what="test", key=lambda item: item)
    first, second = [(await start(shared, n))[0] for n in (1, 2)]

    first.cancel()
    second.cancel()
    store.gate.set()
    await asyncio.gather(first, second, return_exceptions=True)
    await shared(3)

    assert [item for batch in store.batches for item in batch] == [1, 2, 3]


async def test_too_many_waiting_calls_are_refused_at_once() -> None:
    store = Store()
    shared: SharedCommit[int, int] = SharedCommit(store.commit, what="test", key=lambda item: item)
    tasks = await start(shared, 0)
    tasks += await start(shared, *range(1, WAITING_MAX + 1))

    with pytest.raises(Retryable, match="too many"):
        await shared(-1)

    store.gate.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("answers", [0, 1, 3])
async def test_a_commit_that_answers_to_too_few_or_too_many_fails_its_callers_and_the_next_ones_go_on(
    answers: int,
) -> None:
    turns = 0

    async def commit(items: Sequence[int]) -> list[int]:
        nonlocal turns
        turns += 1
        return [7] * answers if turns == 1 else list(items)

    shared: SharedCommit[int, int] = SharedCommit(commit, what="test", key=lambda item: item)

    async with asyncio.timeout(10):
        first = await asyncio.gather(shared(1), shared(2), return_exceptions=True)
        assert [type(one) for one in first] == [InvariantBroken, InvariantBroken]
        assert await shared(3) == 3


async def test_a_commit_that_is_broken_off_tells_its_callers_and_those_who_wait_behind_it() -> None:
    begun = asyncio.Event()

    async def commit(_items: Sequence[int]) -> list[int]:
        begun.set()
        await asyncio.Event().wait()
        return []

    shared: SharedCommit[int, int] = SharedCommit(commit, what="test", key=lambda _: "one at a time")
    calls = [asyncio.create_task(shared(number)) for number in (1, 2)]
    await begun.wait()
    assert shared._worker is not None
    shared._worker.cancel()

    async with asyncio.timeout(10):
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in answers] == [Retryable, Retryable]
