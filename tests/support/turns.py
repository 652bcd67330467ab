"""Letting the event loop go round in a test, without a sleep."""

import asyncio


async def turn() -> None:
    """Everything that is ready has its turn once."""
    await asyncio.wait({asyncio.create_task(_nothing())})


async def _nothing() -> None:
    """One turn of the event loop."""
