"""Whose session is over is answered so by every replica, at once, also while a poll is held."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager

import pytest
from structlog.testing import capture_logs

from agent_presence.domain import Profile
from agent_presence.inboxes import Inboxes
from agent_presence.leases import UNHEARD_S, EndWatch, LeaseKeeper, Leases
from agent_presence.polling import Polling
from agent_presence.testing import MemoryDirectory, MemorySessionEnds, MemorySessions, PresenceTables
from common.runtime import clock
from common.runtime.failures import Retryable
from common.testing.database import MemoryServer
from common.testing.eventually import eventually
from common.testing.faults import GoodLine
from tests.support.machines import StillMachine

LEASE_S = 90.0


class Replica:
    """One instance of agent-presence on the tables that all share."""

    def __init__(self, tables: PresenceTables) -> None:
        now = clock.SystemClock()
        self.sessions = MemorySessions(tables, GoodLine(), clock=now, lease_s=LEASE_S)
        self.directory = MemoryDirectory(tables, GoodLine(), now)
        self.leases = Leases(self.sessions, lease_s=LEASE_S)
        self.inboxes = Inboxes()
        self.keeper = LeaseKeeper(self.leases, self.inboxes)
        self.watch = EndWatch(MemorySessionEnds(tables, GoodLine()), leases=self.leases, inboxes=self.inboxes)

    async def sign_in(self, agent_id: str = "ann") -> int:
        done = await self.sessions.sign_in(agent_id, "available")
        assert done is not None
        self.leases.signed_in(done[0])
        return done[0].session_no

    async def poll(self, number: int, is_gone: Callable[[], bool] = lambda: False) -> bool:
        """A long poll of ann's; False when it is told that the session is over."""
        polling = Polling(inboxes=self.inboxes, leases=self.leases, stopping=asyncio.Event())

        known = polling.etag("ann", number)
        return await polling.changed("ann", number, known=known, wait_s=1_000.0, is_gone=is_gone)


def tables() -> PresenceTables:
    found = PresenceTables(MemoryServer(clock.monotonic_s))
    found.profiles["ann"] = profile()
    return found


def profile(*, enabled: bool = True) -> Profile:
    return Profile(agent_id="ann", pool="p", skills={}, units=6, enabled=enabled, traits={})


async def until(is_so: Callable[[], bool]) -> None:
    async def look() -> bool:
        return is_so()

    await eventually(look)


@asynccontextmanager
async def two(*, listening: bool = True) -> AsyncIterator[tuple[Replica, Replica]]:
    shared = tables()
    replicas = Replica(shared), Replica(shared)
    watches = [asyncio.create_task(one.watch.run()) for one in replicas if listening]
    await until(lambda: len(shared.listeners) == len(watches))
    yield replicas
    for watch in watches:
        watch.cancel()


async def test_the_session_before_is_over_on_every_replica_once_the_agent_signs_in_anew(machine: StillMachine) -> None:
    async with two() as (here, there):
        first = await here.sign_in()
        assert await there.leases.is_alive("ann", first)

        second = await here.sign_in()

        assert not await there.leases.is_alive("ann", first)
        assert await there.leases.is_alive("ann", second)
        assert await here.leases.is_alive("ann", second)


@pytest.mark.parametrize("how", ["signed out", "signed in anew", "disabled", "signed out by a supervisor"])
async def test_a_held_poll_on_another_replica_is_told_that_its_session_is_over(machine: StillMachine, how: str) -> None:
    async with two() as (here, there), asyncio.timeout(5):
        number = await here.sign_in()
        held = asyncio.create_task(there.poll(number))
        await until(lambda: bool(there.inboxes._changed))

        if how == "signed out":
            await here.sessions.sign_out("ann", number)
        elif how == "signed in anew":
            await here.sign_in()
        elif how == "disabled":
            await here.directory.put_agent(profile(enabled=False), actor="root")
        else:
            await here.directory.end_session("ann", actor="sue")

        assert await held is False
        assert not await there.leases.is_alive("ann", number)


async def test_while_ends_are_not_heard_a_session_is_believed_for_a_second_only(machine: StillMachine) -> None:
    async with two(listening=False) as (here, there):
        number = await here.sign_in()
        assert await there.leases.is_alive("ann", number)
        await here.sessions.sign_out("ann", number)

        machine.now_s += UNHEARD_S

        assert not await there.leases.is_alive("ann", number)


async def test_what_ended_before_anybody_listened_is_not_believed_any_more(machine: StillMachine) -> None:
    async with two(listening=False) as (here, there):
        number = await here.sign_in()
        assert await there.leases.is_alive("ann", number)
        await here.sessions.sign_out("ann", number)

        there.leases.listen(True)

        assert not await there.leases.is_alive("ann", number)


async def test_an_end_that_is_heard_while_the_lease_is_renewed_counts(machine: StillMachine) -> None:
    asked = asyncio.Event()
    go_on = asyncio.Event()

    class Slow(MemorySessions):
        async def renew(self, given: Sequence[tuple[str, int]]) -> list[bool]:
            found = await super().renew(given)
            asked.set()
            await go_on.wait()
            return found

    shared = tables()
    sessions = Slow(shared, GoodLine(), clock=clock.SystemClock(), lease_s=LEASE_S)
    leases = Leases(sessions, lease_s=LEASE_S)
    leases.listen(True)
    await sessions.sign_in("ann", "available")
    asking = asyncio.create_task(leases.is_alive("ann", 1))
    await asked.wait()

    leases.over("ann", 1)
    go_on.set()

    assert await asking is False
    assert leases.is_over("ann", 1)


async def test_a_lost_connection_means_asking_oftener_until_it_is_back(machine: StillMachine) -> None:
    class Broken:
        async def listen(self, *, listening: object, over: object) -> None:
            raise Retryable("away")

    shared = tables()
    here = Replica(shared)
    here.leases.listen(True)
    number = await here.sign_in()
    watch = asyncio.create_task(EndWatch(Broken(), leases=here.leases, inboxes=here.inboxes).run())  # type: ignore[arg-type]
    await until(lambda: not here.leases._listens)
    shared.sessions["ann"].ended = True  # nobody heard of it

    machine.now_s += UNHEARD_S

    assert not await here.leases.is_alive("ann", number)
    watch.cancel()


class Away(MemorySessions):
    """Sessions on a database that is away for renewals while it is told so."""

    is_away = False

    async def renew(self, given: Sequence[tuple[str, int]]) -> list[bool]:
        if self.is_away:
            raise Retryable("away")
        return await super().renew(given)


@pytest.mark.parametrize("listens", [True, False])
async def test_a_renewal_that_can_wait_waits_and_one_that_cannot_says_so(machine: StillMachine, listens: bool) -> None:
    sessions = Away(tables(), GoodLine(), clock=clock.SystemClock(), lease_s=LEASE_S)
    leases = Leases(sessions, lease_s=LEASE_S)
    leases.listen(listens)
    await sessions.sign_in("ann", "available")
    assert await leases.is_alive("ann", 1)
    sessions.is_away = True

    machine.now_s += LEASE_S / 3 + 0.1
    if listens:
        assert await leases.is_alive("ann", 1)
        machine.now_s += LEASE_S / 3
    with pytest.raises(Retryable):
        await leases.is_alive("ann", 1)
    with pytest.raises(Retryable):
        await leases.is_alive("ann", 2)
    sessions.is_away = False
    assert await leases.is_alive("ann", 1)
    leases.over("ann", 1)
    assert not await leases.is_alive("ann", 1)


async def test_agents_who_came_together_renew_apart_and_in_time(machine: StillMachine) -> None:
    leases = Leases(MemorySessions(tables(), GoodLine(), clock=clock.SystemClock(), lease_s=LEASE_S), lease_s=LEASE_S)

    after_s = [leases.renew_after_s(f"agent-{number}") for number in range(1_000)]

    assert all(0.7 * LEASE_S / 3 <= one <= LEASE_S / 3 for one in after_s)
    crowds = Counter(after_s)
    assert len(crowds) == 10 and max(crowds.values()) < 200, "each step has a tenth of the agents, about"


async def test_many_leases_are_renewed_in_one_statement_and_none_is_refused(machine: StillMachine) -> None:
    batches = []

    class Counting(MemorySessions):
        async def renew(self, given: Sequence[tuple[str, int]]) -> list[bool]:
            batches.append(len(given))
            return [True for _ in given]

    sessions = Counting(tables(), GoodLine(), clock=clock.SystemClock(), lease_s=LEASE_S)
    leases = Leases(sessions, lease_s=LEASE_S)

    answers = await asyncio.gather(*(leases.is_alive(f"agent-{number}", 1) for number in range(5_000)))

    assert all(answers) and len(batches) <= 5_000 / 500 + 2


class TestHeldPolls:
    """A poll that is held is a sign of life; its lease is renewed without it."""

    async def held(
        self, here: Replica, number: int, is_gone: Callable[[], bool] = lambda: False
    ) -> "asyncio.Task[bool]":
        poll = asyncio.create_task(here.poll(number, is_gone))
        await until(lambda: bool(here.inboxes._changed))
        return poll

    async def test_its_lease_is_renewed_and_it_sleeps_on(self, machine: StillMachine) -> None:
        here = Replica(tables())
        here.leases.listen(True)
        poll = await self.held(here, await here.sign_in())
        event = here.inboxes.changed("ann")

        for _ in range(9):
            machine.now_s += LEASE_S / 3
            await here.leases.renew_held(here.inboxes.wake)
            assert await here.sessions.expire() == []

        assert not event.is_set() and not poll.done()
        poll.cancel()

    async def test_a_lease_that_is_not_due_is_left_alone(self, machine: StillMachine) -> None:
        here = Replica(tables())
        here.leases.listen(True)
        poll = await self.held(here, await here.sign_in())
        until_s = here.sessions._tables.sessions["ann"].lease_until_s
        machine.now_s += LEASE_S / 3 * 0.6

        await here.leases.renew_held(here.inboxes.wake)

        assert here.sessions._tables.sessions["ann"].lease_until_s == until_s
        poll.cancel()

    async def test_thousands_are_renewed_in_few_statements(self, machine: StillMachine) -> None:
        batches = []

        class Counting(MemorySessions):
            async def renew(self, given: Sequence[tuple[str, int]]) -> list[bool]:
                batches.append(len(given))
                return [True for _ in given]

        leases = Leases(Counting(tables(), GoodLine(), clock=clock.SystemClock(), lease_s=LEASE_S), lease_s=LEASE_S)
        with ExitStack() as stack:
            for number in range(5_000):
                stack.enter_context(leases.held(f"agent-{number}", 1, lambda: False))
                stack.enter_context(leases.held(f"agent-{number}", 1, lambda: False))
            await leases.renew_held(lambda _: None)
            await leases.renew_held(lambda _: None)

        assert batches == [500] * 10

    @pytest.mark.parametrize(
        "what", ["its caller has gone", "its session ended unheard", "the agent signed in anew unheard"]
    )
    async def test_it_is_told_when_it_waits_for_nothing(self, machine: StillMachine, what: str) -> None:
        here = Replica(tables())
        here.leases.listen(True)
        gone = False
        number = await here.sign_in()
        poll = await self.held(here, number, lambda: gone)
        if what == "its caller has gone":
            gone = True
        elif what == "its session ended unheard":
            here.sessions._tables.sessions["ann"].ended = True
        else:
            again = await here.sign_in()
            other = asyncio.create_task(here.poll(again))
            await until(lambda: len(here.leases._held) == 2)
        machine.now_s += LEASE_S / 3

        await here.leases.renew_held(here.inboxes.wake)

        async with asyncio.timeout(5):
            assert await poll is (what == "its caller has gone")
        if what == "the agent signed in anew unheard":
            other.cancel()

    async def test_while_the_database_is_away_it_goes_on_for_two_thirds_of_the_lease(
        self, machine: StillMachine
    ) -> None:
        here = Replica(tables())
        here.sessions = Away(here.sessions._tables, GoodLine(), clock=clock.SystemClock(), lease_s=LEASE_S)
        here.leases = Leases(here.sessions, lease_s=LEASE_S)
        here.leases.listen(True)
        poll = await self.held(here, await here.sign_in())
        here.sessions.is_away = True

        machine.now_s += LEASE_S / 3
        with pytest.raises(Retryable):
            await here.leases.renew_held(here.inboxes.wake)
        assert not poll.done() and here.inboxes._changed
        machine.now_s += LEASE_S / 3
        with pytest.raises(Retryable):
            await here.leases.renew_held(here.inboxes.wake)

        async with asyncio.timeout(5):
            with pytest.raises(Retryable):
                await poll

    async def test_the_keeper_goes_on_when_the_database_is_back(self) -> None:
        here = Replica(tables())
        here.sessions = Away(here.sessions._tables, GoodLine(), clock=clock.SystemClock(), lease_s=LEASE_S)
        here.leases = Leases(here.sessions, lease_s=LEASE_S)
        number = await here.sign_in()
        here.leases._alive.clear()
        here.sessions.is_away = True
        keeper = asyncio.create_task(LeaseKeeper(here.leases, here.inboxes).run())
        with here.leases.held("ann", number, lambda: False), capture_logs() as logs:
            await until(lambda: "leases_not_renewed" in {line["event"] for line in logs})
            here.sessions.is_away = False
            await until(lambda: "ann" in here.leases._alive)
        keeper.cancel()
