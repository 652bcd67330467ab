"""What an agent hears of a command is what became of it, whichever replica answers."""

import asyncio
from collections.abc import Sequence

from agent_presence.domain import DONE, Command, Kept, Profile
from agent_presence.handlers import Commands
from agent_presence.inboxes import Inboxes
from agent_presence.testing import MemorySessions, PresenceTables
from common.contracts import routing
from common.runtime import clock
from common.runtime.outbox import OutboxRow
from common.testing.database import MemoryServer
from common.testing.eventually import eventually
from common.testing.faults import GoodLine
from tests.unit.agent_presence.test_inboxes import fold

KEY = ("ann", "complete-1")


def with_ann() -> PresenceTables:
    tables = PresenceTables(MemoryServer(clock.monotonic_s))
    tables.profiles["ann"] = Profile(agent_id="ann", pool="p", skills={}, units=6, enabled=True, traits={})
    return tables


class Nowhere:
    """Passes nothing on."""

    def hand_over(self, rows: Sequence[OutboxRow]) -> None:
        pass


def command() -> Command:
    return Command(
        agent_id=KEY[0],
        command_id=KEY[1],
        session_no=1,
        pool="p",
        verb="complete",
        contact_id="c1",
        attempt=1,
        issued_at_ms=1,
    )


def replica(sessions: MemorySessions, inboxes: Inboxes, *, wait_s: float = 5.0) -> Commands:
    return Commands(sessions, inboxes=inboxes, relay=Nowhere(), answer_wait_s=wait_s)


def refused() -> routing.CommandRefused:
    return routing.CommandRefused(
        command_id=KEY[1], agent_id=KEY[0], pool="p", contact_id="c1", attempt=1, reason="offer_over", at_ms=2
    )


class Counting(MemorySessions):
    """Sessions that tell how often commands were kept."""

    kept = 0

    async def keep(self, commands: Sequence[Command]) -> list[tuple[Kept, str | None, OutboxRow]]:
        found = await super().keep(commands)
        self.kept += 1
        return found


async def until_kept(sessions: Counting, times: int) -> None:
    async def look() -> bool:
        return sessions.kept >= times

    await eventually(look, what=f"kept {times} times")


async def kept_by_another(tables: PresenceTables) -> Counting:
    """Sessions in which a replica kept ann's command, and heard no answer in time."""
    sessions = Counting(tables, GoodLine(), clock=clock.SystemClock(), lease_s=90.0)
    assert await sessions.sign_in("ann", "available") is not None
    first = await replica(sessions, Inboxes(), wait_s=0.01).ask(command())
    assert (first.kept, first.outcome) == (Kept.FRESH, None)
    return sessions


async def test_a_replica_that_read_only_the_refusal_of_a_repetition_says_what_was_stored_first() -> None:
    tables = with_ann()
    sessions, inboxes = await kept_by_another(tables), Inboxes()
    asking = asyncio.create_task(replica(sessions, inboxes).ask(command()))
    await until_kept(sessions, 2)

    fold(inboxes, refused())
    await until_kept(sessions, 3)
    assert not asking.done(), "a refusal is not believed before the stored answer was looked for"
    tables.commands[KEY].outcome = DONE

    assert (await asyncio.wait_for(asking, 5)).outcome == DONE


async def test_a_repetition_that_was_refused_and_never_answered_before_hears_the_stored_refusal() -> None:
    tables = with_ann()
    sessions, inboxes = await kept_by_another(tables), Inboxes()
    asking = asyncio.create_task(replica(sessions, inboxes).ask(command()))
    await until_kept(sessions, 2)

    fold(inboxes, refused())
    await until_kept(sessions, 3)
    tables.commands[KEY].outcome = "offer_over"

    assert (await asyncio.wait_for(asking, 5)).outcome == "offer_over"
