"""A service says why it cannot work with its database, and names the setting and the way out."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from common.runtime.clock import ClockAhead, SystemClock
from common.runtime.database import Pool, open_pool
from common.runtime.database_probe import DatabaseProbe
from common.testing.clock import ManualClock
from intake.config import SCHEMA
from tests.integration.conftest import Place
from tests.support.machines import WrongMachine, wrong_machine


@pytest.fixture
async def pool(place: Place) -> AsyncIterator[Pool]:
    opened = await open_pool(place.dsns["intake"], name="probe", size=1)
    yield opened
    await opened.close()


def probe(pool: Pool, *, wants: str = SCHEMA, ahead_s: float = 0) -> DatabaseProbe:
    clock = ManualClock(SystemClock.wall_ms() + round(ahead_s * 1000))
    return DatabaseProbe(pool, prefix="INTAKE_", wants=wants, clock=clock, skew_max_s=60)


async def test_what_fits_is_no_trouble(pool: Pool) -> None:
    assert await probe(pool).trouble() == ""


@pytest.mark.parametrize("ahead_s", [-50, 50])
async def test_clocks_may_be_a_little_apart(pool: Pool, ahead_s: int) -> None:
    assert await probe(pool, ahead_s=ahead_s).trouble() == ""


@pytest.mark.parametrize(("ahead_s", "says"), [(300, "+300 s"), (-300, "-300 s")])
async def test_a_clock_five_minutes_off_is_said_with_the_setting_and_the_way_out(
    pool: Pool, ahead_s: int, says: str
) -> None:
    why = await probe(pool, ahead_s=ahead_s).trouble()

    assert says in why and "INTAKE_CLOCK_SKEW_MAX_S is 60" in why and "run NTP on both machines" in why


@pytest.mark.parametrize(("wants", "says"), [("9999", "run the migrate job"), ("0001", "deploy a newer release")])
async def test_a_schema_that_does_not_fit_is_said(pool: Pool, wants: str, says: str) -> None:
    assert says in await probe(pool, wants=wants).trouble()


async def test_a_wrong_password_is_said_with_its_setting(place: Place) -> None:
    user, _, rest = place.dsns["intake"].partition("@")
    opened = await open_pool(f"{user}-wrong@{rest}", name="probe", size=1)
    try:
        assert "INTAKE_DATABASE_PASSWORD" in await probe(opened).trouble()
    finally:
        await opened.close()


@pytest.fixture
def machine() -> Iterator[WrongMachine]:
    with wrong_machine() as wrong:
        yield wrong


def kept(pool: Pool, clock: SystemClock) -> DatabaseProbe:
    return DatabaseProbe(pool, prefix="INTAKE_", wants=SCHEMA, clock=clock, skew_max_s=60, heed=clock.heed)


async def test_a_clock_that_was_ten_minutes_behind_at_the_start_is_followed_when_it_is_right(
    pool: Pool, machine: WrongMachine
) -> None:
    machine.ahead_s = -600
    probe = kept(pool, SystemClock())
    assert "-600 s" in await probe.trouble() or "-599 s" in await probe.trouble()

    machine.ahead_s = 0
    await probe.keep_time()

    assert await probe.trouble() == ""


async def test_a_service_ten_minutes_ahead_begins_anew_when_the_clock_is_right(
    pool: Pool, machine: WrongMachine
) -> None:
    machine.ahead_s = 600
    probe = kept(pool, SystemClock())
    await probe.keep_time()
    assert "+600 s" in await probe.trouble(), "a machine that is ahead is not believed, and not followed"

    machine.ahead_s = 0
    with pytest.raises(ClockAhead):
        await probe.keep_time()

    assert await kept(pool, SystemClock()).trouble() == "", "what is started anew is right"


async def test_a_service_waits_for_its_database_and_has_its_time_then(pool: Pool, machine: WrongMachine) -> None:
    machine.ahead_s = -600
    clock = SystemClock()

    await asyncio.wait_for(kept(pool, clock).wait(), 20)

    assert abs(clock.now_ms() - machine.wall_ns() // 1_000_000 - 600_000) < 10_000


REFUSED = b"SERROR\x00C08P01\x00Munsupported startup parameter: idle_in_transaction_session_timeout\x00\x00"


async def test_a_pooler_is_named_instead_of_calling_the_database_unreachable() -> None:
    async def pooler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(8) == b"\x00\x00\x00\x08\x04\xd2\x16\x2f":  # asks for TLS
            writer.write(b"N")
            await reader.readexactly(8)
        writer.write(b"E" + (len(REFUSED) + 4).to_bytes(4, "big") + REFUSED)
        writer.close()

    async with await asyncio.start_server(pooler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        opened = await open_pool(f"postgresql://u:p@127.0.0.1:{port}/d", name="probe", size=1)
        why = await probe(opened).trouble()
        await opened.close()

    assert "pooler" in why and "transaction mode" in why and "INTAKE_DATABASE_URL" in why
