"""A service says why it cannot work with its database, and names the setting and the way out."""

from collections.abc import AsyncIterator

import pytest

from common.runtime.clock import SystemClock
from common.runtime.database import Pool, open_pool
from common.runtime.database_probe import DatabaseProbe
from common.testing.clock import ManualClock
from intake.config import SCHEMA
from tests.integration.conftest import Place


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
