"""Hours of operation in a queue's own zone, across changes of the clock."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.contracts.policies import Hours, Opening, Override
from router.hours import faults_of, is_open

WEEKDAYS = Opening(days=("mon", "tue", "wed", "thu", "fri"), start="08:00", end="18:00")
CHICAGO = Hours(
    zone="America/Chicago",
    weekly=(WEEKDAYS, Opening(days=("sat",), start="22:00", end="24:00")),
    holidays="US-TX",
    overrides=(
        Override(date="2026-07-03", start="10:00", end="12:00"),
        Override(date="2026-11-30", closed=True),
        Override(date="2026-12-25", start="09:00", end="10:00"),
    ),
)


def at(text: str, zone: str = "America/Chicago") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("moment", "opened"),
    [
        ("2026-11-23T07:59", False),
        ("2026-11-23T08:00", True),
        ("2026-11-23T17:59", True),
        ("2026-11-23T18:00", False),
        ("2026-11-22T12:00", False),  # a Sunday
        ("2026-11-21T23:59", True),  # a Saturday night, until midnight
        ("2026-11-26T12:00", False),  # Thanksgiving
        ("2026-07-03T09:00", False),  # an override wins over the holiday and over the week
        ("2026-07-03T11:00", True),
        ("2026-11-30T12:00", False),
        ("2026-12-25T09:30", True),
    ],
)
def test_overrides_win_over_holidays_and_holidays_over_the_week(moment: str, opened: bool) -> None:
    assert is_open(CHICAGO, at(moment)) is opened


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)))
def test_the_clock_on_the_wall_decides_also_when_it_is_changed(moment: datetime) -> None:
    plain = Hours(zone="Europe/Berlin", weekly=(WEEKDAYS,))
    at_ms = round(moment.replace(tzinfo=ZoneInfo("UTC")).timestamp() * 1_000)

    wall = datetime.fromtimestamp(at_ms // 1_000, ZoneInfo("Europe/Berlin"))
    assert is_open(plain, at_ms) == (wall.weekday() < 5 and 8 <= wall.hour < 18)


@pytest.mark.parametrize(
    ("hours", "path"),
    [
        (Hours(zone="Mars/Olympus", weekly=()), "zone"),
        (Hours(zone="UTC", weekly=(Opening(days=(), start="08:00", end="09:00"),)), "weekly[0].days"),
        (Hours(zone="UTC", weekly=(Opening(days=("mon",), start="8:00", end="09:00"),)), "weekly[0].start"),
        (Hours(zone="UTC", weekly=(Opening(days=("mon",), start="22:00", end="06:00"),)), "weekly[0].end"),
        (Hours(zone="UTC", weekly=(), holidays="XX"), "holidays"),
        (Hours(zone="UTC", weekly=(), holidays="US-QQ"), "holidays"),
        (Hours(zone="UTC", weekly=(), overrides=(Override(date="24.12.", closed=True),)), "overrides[0].date"),
    ],
)
def test_hours_that_cannot_be_are_refused_with_their_path(hours: Hours, path: str) -> None:
    assert [where for where, _ in faults_of(hours)] == [path]
