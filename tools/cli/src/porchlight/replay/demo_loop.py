"""The generated day, again and again, at low speed: something to look at."""

import asyncio
from collections.abc import Callable

from porchlight.clients.connect import connect
from porchlight.clients.http import GaveUp, Refused
from porchlight.installation import Home
from porchlight.replay.call_log import read_day
from porchlight.replay.command import DEMO_FILE
from porchlight.replay.demo_day import DAY
from porchlight.replay.player import Replay

SPEED = 30.0
"""A day lasts 34 minutes."""
TELL_EVERY = 100
AGAIN_AFTER_S = 5.0


async def play_for_ever(home: Home, say: Callable[[str], None]) -> None:
    """Play until cancelled. A day that comes to grief (a server was stopped for long) is begun anew."""
    day = read_day(DEMO_FILE, DAY)

    def tell(done: int, total: int) -> None:
        if done % TELL_EVERY == 0:
            say(f"demo: {done} of {total} calls of the generated day are over")

    while True:
        clients, _ = await connect(home, client="demo")
        say(f"demo: {len(day.calls)} calls and {len(day.shifts)} agents of a generated day, {SPEED:g} times as fast")
        try:
            async with clients:
                await Replay(clients, day, speed=SPEED, progress=tell).run()
        except* (GaveUp, Refused) as why:
            say(f"demo: {why.exceptions[0]!r}; the day begins anew in {AGAIN_AFTER_S:g} s")
        await asyncio.sleep(AGAIN_AFTER_S)
