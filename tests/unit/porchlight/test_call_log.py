"""Call logs and the generated day."""

from pathlib import Path
from statistics import mean

import pytest

from porchlight import demo_day
from porchlight.calllog import COLUMNS, clock, read_day, seconds
from porchlight.home import Trouble
from porchlight.replaying import DEMO_FILE

HEADER = "\t".join(COLUMNS)
ROW = "AA0101 1 C1 2 PS 260105 7:00:00 7:00:05 5 7:00:05 7:00:25 20 AGENT 7:00:25 7:01:25 60 H01".replace(" ", "\t")
GONE = "AA0101 2 C2 1 PS 260105 7:00:00 7:00:05 5 7:00:05 7:00:35 30 HANG 0:00:00 0:00:00 0 NO_SERVER".replace(
    " ", "\t"
)
NEVER = "AA0101 3 0 0 PS 260105 7:00:00 7:00:05 5 0:00:00 0:00:00 0 HANG 0:00:00 0:00:00 0 NO_SERVER".replace(" ", "\t")


def log(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "calls.tsv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_the_same_seed_gives_the_same_bytes_and_the_committed_day_is_seed_one() -> None:
    assert demo_day.generate(1) == DEMO_FILE.read_text()
    assert demo_day.generate(2) != demo_day.generate(1)


def test_the_generated_day_has_the_published_shape() -> None:
    day = read_day(DEMO_FILE, demo_day.DAY)
    regular = [call.service_s for call in day.calls if call.type == "PS" and call.patience_s is None]

    assert day.types == ["IN", "NE", "NW", "PE", "PS", "TT"]
    assert 900 < len(day.calls) < 1_900
    assert 150 < mean(regular) < 210
    assert 0.02 < sum(call.patience_s is not None for call in day.calls) / len(day.calls) < 0.25


def test_arrivals_vary_more_than_a_poisson_days_do() -> None:
    counts: list[list[int]] = []
    for seed in range(12):
        halves = [0] * 48
        for line in demo_day.generate(seed).splitlines()[1:]:
            halves[seconds(line.split("\t")[7]) // 1800] += 1
        counts.append(halves)
    busy = [[day[half] for day in counts] for half in range(17, 34)]

    ratio = mean(sum((x - mean(xs)) ** 2 for x in xs) / (len(xs) - 1) / mean(xs) for xs in busy)

    assert 1.5 < ratio < 6


def test_who_hung_up_takes_the_types_mean_service_and_who_never_queued_is_no_call(tmp_path: Path) -> None:
    day = read_day(log(tmp_path, ROW, GONE, NEVER), "2026-01-05")

    assert [(call.call_id, call.patience_s, call.service_s) for call in day.calls] == [("1", None, 60), ("2", 30, 60)]
    assert [(shift.agent, shift.types) for shift in day.shifts] == [("h01", ("PS",))]


def test_times_are_read_and_written() -> None:
    assert [clock(seconds(text)) for text in ("0:00:00", "7:05:09", "23:59:59")] == ["0:00:00", "7:05:09", "23:59:59"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["one\ttwo"], "line 2 has 2 fields"),
        ([ROW.replace("AGENT", "MAYBE")], "line 2: outcome 'MAYBE'"),
        ([ROW.replace("7:00:25", "soon")], "line 2"),
        ([ROW.replace("260105", "260106")], "no call of 2026-01-05"),
    ],
)
def test_a_log_that_is_not_of_the_format_is_named_with_its_line(tmp_path: Path, rows: list[str], says: str) -> None:
    with pytest.raises(Trouble, match=says):
        read_day(log(tmp_path, *rows), "2026-01-05")


def test_a_file_that_is_not_there_is_trouble(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="cannot read"):
        read_day(tmp_path / "none.tsv", "2026-01-05")
