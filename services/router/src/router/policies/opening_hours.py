"""Hours of operation: whether a queue is open at a moment, in its own zone. The core is only told."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays

from common.contracts.policies import Hours

DAY_MINUTES = 1_440
TIME = re.compile(r"([0-9]{2}):([0-5][0-9])")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CALENDARS_MAX = 512
"""Holiday calendars (a place and a year each) that are kept; the one used longest ago goes first."""


def is_open(hours: Hours, at_ms: int) -> bool:
    """Whether the queue is open: an override of the local day wins over a holiday, a holiday over the week."""
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(hours.zone))
    today = local.date()
    for override in hours.overrides:
        if override.date == today.isoformat():
            return not override.closed and _is_within(local, override.start, override.end)
    if hours.holidays and today in holidays_of(hours.holidays, today.year):
        return False
    day = DAYS[today.weekday()]
    return any(day in one.days and _is_within(local, one.start, one.end) for one in hours.weekly)


def faults_of(hours: Hours) -> list[tuple[str, str]]:
    """What cannot work, as (path, reason)."""
    found = []
    try:
        ZoneInfo(hours.zone)
    except (KeyError, ValueError, OSError):
        found.append(("zone", f"there is no time zone {hours.zone!r}; use a name like Europe/Berlin"))
    found += [*_weekly_faults(hours), *_override_faults(hours)]
    if hours.holidays and not _has_calendar(hours.holidays):
        found.append(("holidays", f"there is no holiday calendar {hours.holidays!r}; use one like US or US-TX"))
    return found


def _weekly_faults(hours: Hours) -> Iterator[tuple[str, str]]:
    for number, opening in enumerate(hours.weekly):
        place = f"weekly[{number}]"
        if not opening.days:
            yield f"{place}.days", "names no day"
        twice = sorted({day for day in opening.days if opening.days.count(day) > 1})
        if twice:
            yield f"{place}.days", f"names {', '.join(twice)} twice"
        yield from ((f"{place}.{where}", why) for where, why in _span_faults(opening.start, opening.end))


def _override_faults(hours: Hours) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for number, override in enumerate(hours.overrides):
        place = f"overrides[{number}]"
        if not _is_date(override.date):
            yield f"{place}.date", f"{override.date!r} is no date like 2026-12-24"
        elif override.date in seen:
            yield f"{place}.date", f"{override.date} stands there twice: only the first would count"
        seen.add(override.date)
        if not override.closed:
            yield from ((f"{place}.{where}", why) for where, why in _span_faults(override.start, override.end))
        elif override.start or override.end:
            yield place, "is closed and has hours: give one of them"


def _is_date(text: str) -> bool:
    """Whether it is written as days are compared: 20261224 and 2026-W52-4 are dates too, and would never apply."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _has_calendar(place: str) -> bool:
    country, _, part = place.partition("-")
    known = holidays.list_supported_countries(include_aliases=True)
    return country in known and (not part or part in known[country])


@lru_cache(maxsize=CALENDARS_MAX)
def holidays_of(place: str, year: int) -> frozenset[date]:
    """Public holidays of a country, or country-subdivision, that `faults_of` had nothing against."""
    country, _, part = place.partition("-")
    return frozenset(holidays.country_holidays(country, subdiv=part or None, years=year))


def _span_faults(start: str, end: str) -> list[tuple[str, str]]:
    found = [
        (name, f"{value!r} is no time like 08:30")
        for name, value in (("start", start), ("end", end))
        if _minutes(value) is None
    ]
    if not found and (_minutes(start) or 0) >= (_minutes(end) or 0):
        found.append(("end", f"{end} is not after {start}; give two spans for hours that pass midnight"))
    return found


def _is_within(local: datetime, start: str, end: str) -> bool:
    return _has_come(local, _minutes(start) or 0) and not _has_come(local, _minutes(end) or 0)


def _has_come(local: datetime, minutes: int) -> bool:
    """Whether the day's clock has shown this time already.

    Of an hour that comes twice the first one counts: what opened or closed in it stays so when the clock is put back. A
    time that the clock leaps over comes with the leap.
    """
    if not local.fold or minutes == DAY_MINUTES:
        return local.hour * 60 + local.minute >= minutes
    first = local.replace(hour=minutes // 60, minute=minutes % 60, second=0, microsecond=0, fold=0)
    return first.astimezone(UTC) <= local.astimezone(UTC)


def _minutes(text: str) -> int | None:
    found = TIME.fullmatch(text)
    if found is None:
        return None
    total = int(found[1]) * 60 + int(found[2])
    return total if total <= DAY_MINUTES else None
