"""Hours of operation in a queue's own zone, across changes of the clock."""

import itertools
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.contracts.policies import Hours, Opening, Override
from router.policies.opening_hours import DAYS, faults_of, is_open

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
    ("zone", "day"),
    [
        ("Europe/Berlin", "2026-10-25"),  # 03:00 becomes 02:00
        ("Europe/Berlin", "2026-03-29"),  # 02:00 becomes 03:00
        ("America/Chicago", "2026-11-01"),
        ("Australia/Lord_Howe", "2026-04-05"),  # by half an hour
        ("America/Havana", "2026-11-01"),  # 01:00 becomes midnight
        ("America/Havana", "2026-03-08"),  # midnight becomes 01:00
    ],
)
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("02:30", "10:00"),
        ("00:00", "02:30"),
        ("02:15", "02:45"),
        ("00:30", "24:00"),
        ("01:45", "02:05"),
        ("01:30", "02:30"),
    ],
)
def test_a_queue_opens_and_closes_at_most_once_on_a_day_whose_clock_is_changed(
    zone: str, day: str, start: str, end: str
) -> None:
    hours = Hours(zone=zone, weekly=(Opening(days=tuple(DAYS), start=start, end=end),))
    noon_ms = at(f"{day}T12:00", zone)
    found = [is_open(hours, noon_ms + minute * 60_000) for minute in range(-18 * 60, 20 * 60)]
    own = [one for number, one in enumerate(found) if _is_on(day, zone, noon_ms + (number - 18 * 60) * 60_000)]

    openings = sum(now and not before for before, now in itertools.pairwise([False, *own]))
    assert openings <= 1


def _is_on(day: str, zone: str, at_ms: int) -> bool:
    return datetime.fromtimestamp(at_ms / 1_000, ZoneInfo(zone)).date().isoformat() == day


@pytest.mark.parametrize(
    ("start", "end", "utc", "opened"),
    [
        ("02:30", "10:00", "00:29", False),
        ("02:30", "10:00", "00:30", True),  # 02:30, for the first time
        ("02:30", "10:00", "01:10", True),  # 02:10, for the second time
        ("00:00", "02:30", "00:29", True),
        ("00:00", "02:30", "00:30", False),
        ("00:00", "02:30", "01:10", False),
        ("03:00", "10:00", "01:59", False),  # 02:59, for the second time
        ("03:00", "10:00", "02:00", True),
        ("00:00", "24:00", "01:10", True),
    ],
)
def test_of_an_hour_that_comes_twice_the_first_one_counts(start: str, end: str, utc: str, opened: bool) -> None:
    hours = Hours(zone="Europe/Berlin", weekly=(Opening(days=("sun",), start=start, end=end),))

    assert is_open(hours, at(f"2026-10-25T{utc}", "UTC")) is opened


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
        (Hours(zone="UTC", weekly=(), overrides=(Override(date="20261224", closed=True),)), "overrides[0].date"),
        (Hours(zone="UTC", weekly=(), overrides=(Override(date="2026-W52-4", closed=True),)), "overrides[0].date"),
        (Hours(zone="America", weekly=()), "zone"),
        (Hours(zone="../UTC", weekly=()), "zone"),
        (Hours(zone="", weekly=()), "zone"),
        (
            Hours(zone="UTC", weekly=(Opening(days=("mon", "tue", "mon"), start="08:00", end="09:00"),)),
            "weekly[0].days",
        ),
        (Hours(zone="UTC", weekly=(Opening(days=("mon",), start="0٨:00", end="09:00"),)), "weekly[0].start"),
        (Hours(zone="UTC", weekly=(Opening(days=("mon",), start="08:0²", end="09:00"),)), "weekly[0].start"),
        (Hours(zone="UTC", weekly=(Opening(days=("mon",), start="08:00", end="24:01"),)), "weekly[0].end"),
        (
            Hours(zone="UTC", weekly=(), overrides=(Override(date="2026-12-24", closed=True),) * 2),
            "overrides[1].date",
        ),
        (
            Hours(zone="UTC", weekly=(), overrides=(Override(date="2026-12-24", start="10:00", end="10:00"),)),
            "overrides[0].end",
        ),
        (
            Hours(zone="UTC", weekly=(), overrides=(Override(date="2026-12-24", closed=True, start="10:00"),)),
            "overrides[0]",
        ),
    ],
)
def test_hours_that_cannot_be_are_refused_with_their_path(hours: Hours, path: str) -> None:
    assert [where for where, _ in faults_of(hours)] == [path]


@pytest.mark.parametrize(
    "written",
    [
        "20261224",
        "2026-W52-4",
        "2026W524",
        "2026-12-24T00:00",
        "2026-1-5",
        "2026-02-30",
        "2026-13-01",
        "0000-01-01",
        "٢٠٢٦-12-24",
        "",
    ],
)
def test_a_day_that_is_not_written_as_local_days_are_is_refused(written: str) -> None:
    hours = Hours(zone="UTC", weekly=(), overrides=(Override(date=written, closed=True),))

    assert [where for where, _ in faults_of(hours)] == ["overrides[0].date"]


@given(st.dates())
def test_every_real_day_can_be_overridden_and_is(day: date) -> None:
    hours = Hours(
        zone="UTC",
        weekly=(Opening(days=DAYS, start="00:00", end="24:00"),),
        overrides=(Override(date=day.isoformat(), closed=True),),
    )

    assert faults_of(hours) == []
    if 1970 <= day.year < 9_999:
        assert not is_open(hours, at(f"{day.isoformat()}T12:00", "UTC"))
