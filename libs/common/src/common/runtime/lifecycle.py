"""Start, run and stop of a service process: one deadline for the stop, a crash for what nobody expected."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from math import ceil

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp

from common.runtime.connections import ConnectionLimits, bounded, room_for
from common.runtime.failures import strays_as_trouble
from common.runtime.tracing import close_tracing

log = structlog.get_logger()


class Running:
    """What everybody in the process may ask: are we stopping?"""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


def make_server(
    app: ASGIApp, *, host: str, port: int, stop_timeout_s: float, limits: ConnectionLimits
) -> uvicorn.Server:
    """An HTTP server whose connections are bounded; it leaves signals alone."""
    limits = replace(limits, connections_max=room_for(limits.connections_max))
    return _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="none",
            http=bounded(limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, int(stop_timeout_s)),
            timeout_keep_alive=ceil(limits.keep_alive_s),
        )
    )


async def serve(
    app: FastAPI,
    *,
    host: str,
    port: int,
    running: Running,
    gate: Callable[[], Awaitable[None]],
    background: Sequence[Callable[[], Awaitable[None]]],
    drain_s: float,
    stop_timeout_s: float,
    limits: ConnectionLimits,
) -> None:
    """Serve HTTP and run the background loops, once `gate` has returned, until SIGTERM or SIGINT.

    The order of the stop: readiness off and long polls answered, `drain_s` in which whoever still comes is answered, no new
    connections, loops cancelled. An error in a loop
    ends the process: whoever started us starts us again, from what is committed.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.stopping.set)
    server = make_server(app, host=host, port=port, stop_timeout_s=stop_timeout_s, limits=limits)
    async with asyncio.TaskGroup() as tasks:
        opened = tasks.create_task(_open(gate))
        loops = [tasks.create_task(_forever(work, opened)) for work in background]
        http = tasks.create_task(server.serve())
        gc.collect()
        gc.freeze()
        stop = asyncio.create_task(running.stopping.wait())
        await asyncio.wait({stop, http}, return_when=asyncio.FIRST_COMPLETED)
        running.stopping.set()
        await asyncio.sleep(drain_s)
        server.should_exit = True
        await http
        for task in (opened, *loops):
            task.cancel()
    log.info("stopped")


async def _open(gate: Callable[[], Awaitable[None]]) -> None:
    await gate()


async def _forever(work: Callable[[], Awaitable[None]], opened: "asyncio.Task[None]") -> None:
    await asyncio.wait({opened})
    with strays_as_trouble():  # else the group of tasks would take it for an end that was wanted
        await work()
    raise RuntimeError("a background loop ended by itself")


@asynccontextmanager
async def closing() -> AsyncIterator[AsyncExitStack]:
    """Closers in reverse order of opening."""
    async with AsyncExitStack() as stack:
        yield stack


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a service on uvloop."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_as_coroutine(main))
    finally:
        close_tracing()


async def _as_coroutine(main: Callable[[], Awaitable[None]]) -> None:
    await main()
