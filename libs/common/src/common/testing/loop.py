"""An event loop whose time, order and faults are decided by a seed: real code runs on it unchanged.

Time is virtual: it goes on when nobody has anything to do, and a little with each turn. Which process runs next is drawn
from the seed; inside one process the order is asyncio's own, so that what holds there holds here.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from heapq import heappop
from random import Random
from typing import Any, TypeVar

from common.runtime.clock import Machine

Result = TypeVar("Result")
TURN_S = 20e-6
"""Virtual time that one callback takes, so that a busy loop cannot stop the clock."""
THREAD_S = (0.0005, 0.02, 3.0)
"""How long work in a thread may take."""
CLEARING_ROUNDS_MAX = 200
"""Turns that a crashed process may take to end; one that does not end by then never would."""


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where it lies in memory."""

    def __init__(self, number: int, coro: Any, **options: Any) -> None:
        self.number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


class Process:
    """What runs together, and dies together. `rate` and `offset_s`: its monotonic clock; `wall_s`: its wall clock's error."""

    def __init__(self, name: str, *, rate: float = 1.0, offset_s: float = 0.0, wall_s: float = 0.0) -> None:
        self.name = name
        self.rate = rate
        self.offset_s = offset_s
        self.wall_s = wall_s
        self.is_alive = True
        self.paused_until_s = 0.0
        self.held: list[asyncio.Handle] = []
        self.tasks: dict[asyncio.Task[Any], None] = {}


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class SimulatedLoop(asyncio.BaseEventLoop):
    """See the module. `on_turn` may pause or crash the process whose turn it is."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = Random(seed)  # noqa: S311 -- the seed is the point
        self._now_s = 0.0
        self.turns = 0
        self._tasks_made = 0
        self.on_turn: Callable[[Process], None] | None = None

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now_s

    def spawn(self, process: Process, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        """Start `work` as part of `process`; whatever it starts belongs to it too."""
        context = copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(work, context=context)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Result], *, name: str | None = None, context: Any = None
    ) -> "asyncio.Task[Result]":
        """As asyncio does; a process knows its tasks."""
        self._tasks_made += 1
        task = _Task(self._tasks_made, coro, loop=self, name=name, context=context)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(process.tasks.pop)
        return task

    def pause(self, process: Process, seconds: float) -> None:
        """The process stands still; what became ready meanwhile runs afterwards, in its order."""
        until_s = max(process.paused_until_s, self._now_s + seconds)
        process.paused_until_s = until_s
        self.call_at(until_s, self._resume, process, context=copy_context())

    def kill(self, process: Process) -> None:
        """Nothing that the process still does can be seen outside: its lines are cut. Its tasks are cleared away."""
        process.is_alive = False
        process.paused_until_s = 0.0
        self._resume(process)
        for task in list(process.tasks):
            task.cancel()

    async def clear(self, process: Process) -> None:
        """Wait until the tasks of a killed process are gone."""
        for _ in range(CLEARING_ROUNDS_MAX):
            if not process.tasks:
                return
            for task in list(process.tasks):
                task.cancel()
            await asyncio.sleep(0.01)
        raise AssertionError(f"{process.name} does not end: {process.tasks}")

    def _resume(self, process: Process) -> None:
        if self._now_s >= process.paused_until_s:
            held, process.held = process.held, []
            self._ready.extend(held)  # type: ignore[attr-defined]

    def _run_once(self) -> None:
        ready, timers = self._ready, self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            heappop(timers)._scheduled = False
        if not ready:
            assert timers or self._stopping, "everybody waits for ever"  # type: ignore[attr-defined]
            if timers:
                self._now_s = max(self._now_s, timers[0]._when)
        while timers and timers[0]._when <= self._now_s:
            timer = heappop(timers)
            timer._scheduled = False
            if not timer._cancelled:
                ready.append(timer)
        if not ready:
            return
        self._now_s += TURN_S
        self.turns += 1
        handle = self._next(ready)
        if handle._cancelled:
            return
        process = handle._context.get(PROCESS)
        if process is not None and process.is_alive:
            if self.on_turn is not None:
                self.on_turn(process)
            if self._now_s < process.paused_until_s:
                process.held.append(handle)
                return
        handle._run()

    def _next(self, ready: Any) -> Any:
        """The first of one of the processes that have something to do."""
        if len(ready) == 1:
            return ready.popleft()
        first: dict[Process | None, int] = {}
        for place, handle in enumerate(ready):
            first.setdefault(handle._context.get(PROCESS), place)
        place = list(first.values())[self._random.randrange(len(first))]
        handle = ready[place]
        del ready[place]
        return handle

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        """There are no threads: the work is done in one piece after the seconds in its attribute `takes_s`, or after some that
        are drawn from the seed."""
        del executor
        done: asyncio.Future[Any] = self.create_future()
        takes_s = getattr(func, "takes_s", None)
        self.call_later(self._random.choice(THREAD_S) if takes_s is None else takes_s, self._do, done, func, args)
        return done

    @staticmethod
    def _do(done: "asyncio.Future[Any]", func: Any, args: Any) -> None:
        if not done.done():
            done.set_result(func(*args))

    def _process_events(self, event_list: Any) -> None:
        """No file is ever watched."""

    def _write_to_self(self) -> None:
        """No other thread is ever waited for."""


class SimulatedMachine(Machine):
    """Each process sees its own clocks, and all the same stream of chance."""

    def __init__(self, loop: SimulatedLoop, seed: int, *, began_ms: int) -> None:
        self._loop = loop
        self._began_s = began_ms / 1000
        self._random = Random(seed)  # noqa: S311 -- the seed is the point

    def wall_ns(self) -> int:
        """The wall clock of the process that asks."""
        process = PROCESS.get()
        error_s = 0.0 if process is None else process.wall_s
        return round((self._began_s + self._elapsed_s() + error_s) * 1e9)

    def monotonic_ns(self) -> int:
        """Seconds since some moment of its own, at its own rate."""
        process = PROCESS.get()
        return round((self._elapsed_s() + (0.0 if process is None else process.offset_s)) * 1e9)

    def random_bytes(self, number: int) -> bytes:
        """Drawn from the seed."""
        return self._random.randbytes(number)

    def _elapsed_s(self) -> float:
        process = PROCESS.get()
        return self._loop.time() * (1.0 if process is None else process.rate)
