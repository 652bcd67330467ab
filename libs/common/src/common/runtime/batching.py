"""Shared commits: what gathers while the last commit is under way is the next batch. No timer anywhere."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from common.runtime import metrics
from common.runtime.failures import InvariantBroken, Retryable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

BATCH_MAX = 64
WAITING_MAX = 2_000
"""Calls that may wait for a commit; one more is refused at once with `Retryable`."""


class SharedCommit(Generic[Item, Answer]):
    """Turns many concurrent calls into few statements.

    `what` names it in the figures. `commit` gets up to `batch_max` items and returns one answer for each, in order. If it
    raises `Retryable`, every caller of that batch gets the error. If it raises anything else, one item is to blame and nothing
    is committed: each item is committed again by itself, and only the caller whose item fails alone gets its error. Two
    items with equal `key` never share a batch. A caller that is cancelled does not stop the commit.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        what: str,
        key: Callable[[Item], Hashable],
        batch_max: int = BATCH_MAX,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._commit = commit
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._split = metrics.commits_split.labels(what)
        self._items = metrics.commit_items.labels(what)
        self._key = key
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Answer:
        """Commit `item` with whoever else is there. Raises what `commit` raises."""
        if len(self._waiting) >= self._waiting_max:
            raise Retryable("too many requests wait for a commit")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._drain())
        return await asyncio.shield(answer)

    async def _drain(self) -> None:
        while self._waiting:
            batch = self._take()
            self._items.observe(len(batch))
            try:
                if not await self._try(batch):
                    self._split.inc()
                    for one in batch:  # at most `batch_max` commits of one item each
                        await self._try([one])
            except BaseException:  # the worker is cancelled: whoever waits must hear of it
                _fail([*batch, *self._waiting], Retryable("the commit was broken off"))
                self._waiting.clear()
                raise

    async def _try(self, batch: "list[tuple[Item, asyncio.Future[Answer]]]") -> bool:
        """Commit the batch and answer its callers; False, and no answer, when one of several items is to blame."""
        try:
            answers = await self._commit([item for item, _ in batch])
        except Exception as why:
            if len(batch) > 1 and not isinstance(why, Retryable):
                return False
            _fail(batch, why)
            return True
        if len(answers) != len(batch):  # it is committed, so it is not tried again
            _fail(batch, InvariantBroken(f"{len(answers)} answers to {len(batch)} calls: nobody knows which is whose"))
            return True
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
        return True

    def _take(self) -> list[tuple[Item, "asyncio.Future[Answer]"]]:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        seen: set[Hashable] = set()
        while self._waiting and len(batch) < self._batch_max:
            key = self._key(self._waiting[0][0])
            if key in seen:
                break
            seen.add(key)
            batch.append(self._waiting.popleft())
        return batch


def _fail(waiting: Iterable[tuple[Item, "asyncio.Future[Answer]"]], why: Exception) -> None:
    for _, future in waiting:
        if not future.done():
            future.set_exception(why)
            future.exception()  # a caller that went away must not leave a warning behind
