"""A recorded day in the simulator."""

from pathlib import Path

import msgspec
import pytest

from porchlight.replay import demo_day
from porchlight.replay.call_log import COLUMNS, seats
from porchlight.replay.command import DEMO_FILE
from porchlight.simulate.recorded_day import bank_day, recorded
from porchlight_simulator.replications import play

HEADER = "\t".join(COLUMNS)
ROW = (
    "AA0101 {n} C1 {priority} PS 260105 7:00:00 7:00:05 5 {queued} {left} {waited} {outcome} {start} {end} {took} {who}"
)


def answered(
    number: int, queued: str, start: str, end: str, *, waited: int, took: int, who: str = "H01", priority: int = 1
) -> str:
    about = {"n": number, "queued": queued, "left": start, "waited": waited, "start": start, "end": end, "took": took}
    return ROW.format(**about, outcome="AGENT", who=who, priority=priority).replace(" ", "\t")


def log(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "calls.tsv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_a_long_gap_between_services_is_a_break(tmp_path: Path) -> None:
    rows = (
        answered(1, "7:00:05", "7:00:05", "7:01:05", waited=0, took=60),
        answered(2, "7:05:00", "7:05:00", "7:06:00", waited=0, took=60),
        answered(3, "9:00:00", "9:00:00", "9:01:00", waited=0, took=60),
    )

    (seat,) = seats(log(tmp_path, *rows), "2026-01-05")

    assert [(start // 60, end // 60) for start, end in seat.spans] == [(419, 426), (539, 541)]


def test_a_priority_caller_has_its_credit_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    rows = (
        answered(1, "7:00:00", "7:00:00", "7:05:00", waited=0, took=300),
        answered(2, "7:01:00", "7:10:00", "7:10:30", waited=540, took=30),
        answered(3, "7:02:00", "7:05:00", "7:10:00", waited=180, took=300, priority=2),
    )
    path = log(tmp_path, *rows)

    found = play((bank_day(path, "2026-01-05", seed=1, replications=2), 0))

    assert found["ps-1"]["asa"] == 180.0  # came later by a minute, and its credit of 90 s put it first
    assert found["ps-0"]["asa"] == pytest.approx((0 + 540) / 2)
    was = recorded(path, "2026-01-05")
    assert (was.calls, was.share_abandoned, was.mean_wait_s) == (3, 0.0, 240.0)


def test_a_whole_day_is_played_with_every_call() -> None:
    was = recorded(DEMO_FILE, demo_day.DAY)
    one, other = (bank_day(DEMO_FILE, demo_day.DAY, seed=seed, replications=2) for seed in (1, 2))

    found = play((one, 0))

    assert found["all"]["arrived"] == was.calls
    assert found["all"]["answered"] + found["all"]["abandoned"] == was.calls
    assert 0 < found["all"]["share_abandoned"] < 0.3
    assert msgspec.json.encode(one) != msgspec.json.encode(other)  # another patience for those who were answered
    assert [each.times for each in one.arrivals] == [each.times for each in other.arrivals]
