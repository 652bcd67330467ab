"""Call logs and the generated day."""

import re
from pathlib import Path
from statistics import mean

import pytest

from porchlight.files.names import id_of
from porchlight.installation import Trouble
from porchlight.replay import demo_day
from porchlight.replay.call_log import COLUMNS, clock, read_day, seats, seconds
from porchlight.replay.command import DEMO_FILE

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
        ([ROW, ROW.replace("7:00:25\t20", "7:00:25\t-5")], "line 3: q_time '-5' is no number of seconds"),
        ([ROW.replace("7:00:05\t7:00:25", "7:75:99\t7:00:25")], "line 2: q_start '7:75:99' is no time"),
        ([ROW.replace("\t60\t", "\t1_0\t")], "line 2: ser_time '1_0'"),
        ([ROW.replace("\t60\t", "\t90000\t")], "line 2: ser_time '90000'"),
        ([ROW.replace("\t60\t", "\t٦٠\t")], "line 2: ser_time"),
        ([ROW.replace("7:00:25\t7:01:25", "99:00:25\t7:01:25")], "line 2: ser_start '99:00:25'"),
        ([ROW.replace("C1\t2", "C1\t7")], "line 2: priority '7' is none of 0, 1, 2"),
        ([ROW.replace("260105", "2026-01-05")], "line 2: date '2026-01-05' is no day like 260105"),
        ([ROW.replace("260105", "261305")], "line 2: date '261305'"),
        ([ROW.replace("H01", " ")], "line 2: server must be 1 to 100 printable characters"),
        ([ROW.replace("H01", "H\x0701")], "line 2: server must be"),
        ([ROW.replace("PS", "P" * 101)], "line 2: type must be"),
        ([ROW.replace("H01", '"H01')], "line 2: .*is a quotation mark left open"),
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


def raw(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "raw.tsv"
    path.write_bytes(content)
    return path


def test_hours_may_be_padded(tmp_path: Path) -> None:
    path = tmp_path / "padded.tsv"
    path.write_text(re.sub(r"\t(\d:\d\d:\d\d)(?=\t)", r"\t0\1", DEMO_FILE.read_text()))
    assert "\t00:00:00\t" in path.read_text() and "\t0:00:00" not in path.read_text()

    assert read_day(path, demo_day.DAY) == read_day(DEMO_FILE, demo_day.DAY)
    assert seats(path, demo_day.DAY) == seats(DEMO_FILE, demo_day.DAY)


@pytest.mark.parametrize(
    ("row", "arrival", "shift"),
    [
        ("23:59:40 23:59:45 5 23:59:45 0:00:10 25 AGENT 0:00:10 0:01:10 60", "23:59:45", "24:00:10"),
        ("23:59:40 23:59:45 5 23:59:45 24:00:10 25 AGENT 24:00:10 24:01:10 60", "23:59:45", "24:00:10"),
        ("23:59:58 0:00:03 5 0:00:00 0:00:00 0 AGENT 0:00:03 0:01:03 60", "24:00:03", "24:00:03"),
        ("23:59:58 0:00:00 2 0:00:00 0:00:20 20 AGENT 0:00:20 0:01:20 60", "24:00:00", "24:00:20"),
        ("0:00:01 0:00:02 1 0:00:02 0:00:03 1 AGENT 0:00:03 0:01:03 60", "0:00:02", "0:00:03"),
    ],
)
def test_a_call_may_pass_midnight(tmp_path: Path, row: str, arrival: str, shift: str) -> None:
    before, after = "AA0101 1 C1 2 PS 260105", "H01"
    day = read_day(log(tmp_path, " ".join((before, row, after)).replace(" ", "\t")), "2026-01-05")

    assert [clock(call.arrival_s) for call in day.calls] == [arrival]
    assert [(one.start_s + 600, one.end_s - 600) for one in day.shifts] == [(seconds(shift), seconds(shift) + 60)]


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff{header}\n{row}\n",
        "{header}\r\n{row}\r\n",
        "{header}\r{row}\r",
        "{header}\n{row}",
        "{header}\n{row}\n\n\n",
        "{header}\n\n{row}\n" + "\t" * 16 + "\n",
        "{header}\n{quoted}\n",
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path: Path, content: str) -> None:
    quoted = "\t".join(f'"{field}"' for field in ROW.split("\t"))
    path = raw(tmp_path, content.format(header=HEADER, row=ROW, quoted=quoted).encode())

    assert read_day(path, "2026-01-05") == read_day(log(tmp_path, ROW), "2026-01-05")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (f"{HEADER}\n{ROW}\n".encode("utf-16"), "UTF-16, not in UTF-8: save it as UTF-8"),
        (f"{HEADER}\n{ROW}\n".encode("utf-16-le"), "UTF-16, not in UTF-8"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('H01', 'Müller')}\n".encode("cp1252"), "line 3 is not UTF-8.*Windows-1252"),
        (f"{HEADER}\n{ROW}\n".replace("\t", ";").encode(), "separated by semicolons"),
        (f"{HEADER}\n{ROW}\n".replace("\t", ",").encode(), "separated by commas"),
        (f"{HEADER}\n{ROW}\n".replace("\t", " ").encode(), "separated by spaces"),
        (HEADER.replace("customer_id", "customer").encode(), "column 3 is 'customer', not 'customer_id'"),
        (HEADER.removesuffix("\tserver").encode(), "column 17 is '', not 'server'"),
        (f"{HEADER}\tmore".encode(), "there are 18, the last is 'more'"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_the_cause_and_the_way_out(
    tmp_path: Path, content: bytes, says: str
) -> None:
    with pytest.raises(Trouble, match=says):
        read_day(raw(tmp_path, content), "2026-01-05")


@pytest.mark.parametrize("day", ["20260105", "2026-W02-1", "2026-1-5", "2026-02-30", "today", ""])
def test_a_day_is_written_like_2026_01_05(tmp_path: Path, day: str) -> None:
    for read in (read_day, seats):
        with pytest.raises(Trouble, match="is no day"):
            read(log(tmp_path, ROW), day)


def test_a_leading_zero_that_a_spreadsheet_ate_is_put_back(tmp_path: Path) -> None:
    assert len(read_day(log(tmp_path, ROW.replace("260105", "50105")), "2005-01-05").calls) == 1


def test_two_spellings_of_one_name_are_one_agent_and_one_kind_of_call(tmp_path: Path) -> None:
    rows = (ROW.replace("H01", "Ann"), ROW.replace("H01", " ANN ").replace("\tPS\t", "\tps\t"))

    day = read_day(log(tmp_path, *rows), "2026-01-05")

    assert (
        [one.agent for one in day.shifts] == ["ann"] == [one.agent for one in seats(log(tmp_path, *rows), "2026-01-05")]
    )
    assert day.types == ["PS"]


NAMES = [
    *(
        "Łucja Nowak",
        "ucja Nowak",
        "Lucja Nowak",
        "lucja-nowak",
        "Müller",
        "Muller",
        "müller 2",
        "李雷",
        "韩梅梅",
        "O'Brien",
    ),
    *(
        "o-brien",
        "o.brien",
        "x" * 43,
        "x" * 44,
        "x" * 60,
        "x" * 61,
        "-ann",
        "ann",
        ".",
        "..",
        "🙂",
        "a b",
        "a  b",
        "a_b",
    ),
]


def test_names_of_people_become_ids_and_two_names_never_one() -> None:
    names = [*NAMES, *(id_of(name) for name in NAMES if id_of(name) != name.lower())]
    ids = [id_of(name) for name in names]

    assert len(set(ids)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", f"crew-{one}") and len(f"crew-{one}") <= 64 for one in ids)
    assert id_of("Łucja Nowak") == id_of("łucja nowak ") == id_of("ŁUCJA NOWAK")
    assert id_of("Mu\u0308ller") == id_of("M\u00fcller"), "composed or not, it is one name"
    assert id_of("Ann") == "ann" and id_of("H01") == "h01"
