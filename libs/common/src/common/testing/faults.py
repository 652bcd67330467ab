"""The way from a process to a server, on which anything may happen. Without faults it only takes a turn of the loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol


class Line(Protocol):
    """Both may wait, and raise `Retryable`, or `CancelledError` when the process is no more."""

    async def before(self, what: str) -> None:
        """The call is on its way. Raised here: nothing happened."""
        ...

    async def after(self, what: str) -> None:
        """The answer is on its way. Raised here: it happened, and the caller does not know."""
        ...


class GoodLine:
    """See `Line`: nothing goes wrong, and nothing is immediate either."""

    async def before(self, what: str) -> None:
        """A turn of the loop."""
        del what
        await asyncio.sleep(0)

    async def after(self, what: str) -> None:
        """A turn of the loop."""
        del what
        await asyncio.sleep(0)


@asynccontextmanager
async def through(line: Line, what: str) -> AsyncIterator[None]:
    """The block is what the server does: no wait in it."""
    await line.before(what)
    yield
    await line.after(what)
