"""Sessions that end, told by PostgreSQL to every replica that listens (`LISTEN`; the trigger is in migration 0005)."""

import asyncio
from collections.abc import Callable

from common.runtime.database import AWAY, open_connection
from common.runtime.failures import Retryable

CHANNEL = "session_over"
PING_EVERY_S = 5.0
"""A connection that is dead without a word is noticed after this and the time of one statement."""


class PostgresSessionEnds:
    """See `agent_presence.ports.SessionEnds`. It keeps one connection of its own."""

    def __init__(self, dsn: str, *, name: str) -> None:
        self._dsn = dsn
        self._name = name

    async def listen(self, *, listening: Callable[[], None], over: Callable[[str, int], None]) -> None:
        """Call `listening` once from now on every end is heard, and `over` for each, until cancelled."""
        connection = await open_connection(self._dsn, name=f"{self._name}-ends")
        lost = asyncio.Event()

        def heard(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            agent_id, _, number = str(payload).rpartition(" ")
            over(agent_id, int(number))

        try:
            connection.add_termination_listener(lambda _connection: lost.set())
            await connection.add_listener(CHANNEL, heard)
            listening()
            while not lost.is_set():
                try:
                    async with asyncio.timeout(PING_EVERY_S):
                        await lost.wait()
                except TimeoutError:
                    await connection.execute("SELECT 1")
        except AWAY as why:
            raise Retryable(f"database: {why!r}") from why
        finally:
            await connection.close(timeout=2)
        raise Retryable("the connection that tells of sessions' ends was lost")
