"""Trouble writes a bounded number of bounded lines."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stdout

import pytest
import structlog

from common.runtime import logging as ours
from common.runtime.logging import LINES_MAX, TRACEBACK_CHARS_MAX, TRACEBACKS_MAX, WINDOW_S, Flood, configure_logging


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def admitted(flood: Flood, number: int, *, kind: str = "k", level: str = "error") -> list[bool]:
    return [flood.admit(kind, level, has_traceback=True)[0] for _ in range(number)]


def test_a_kind_is_written_up_to_its_bound_and_again_in_the_next_window() -> None:
    clock = Clock()
    flood = Flood(clock)

    assert sum(admitted(flood, 1_000)) == LINES_MAX
    assert sum(admitted(flood, 3, kind="other")) == 3
    clock.now += WINDOW_S
    written, _, left_out = flood.admit("k", "error", has_traceback=True)
    assert written and left_out == {"k": 1_000 - LINES_MAX}


def test_lines_below_warning_are_not_counted() -> None:
    assert all(admitted(Flood(Clock()), 1_000, level="info"))


def test_only_the_first_lines_of_a_kind_have_tracebacks() -> None:
    flood = Flood(Clock())

    assert sum(flood.admit("k", "error", has_traceback=True)[1] for _ in range(50)) == TRACEBACKS_MAX


def test_kinds_beyond_their_bound_are_forgotten() -> None:
    flood = Flood(Clock())

    for number in range(ours.KINDS_MAX * 3):
        flood.admit(f"kind {number}", "warning", has_traceback=False)

    assert len(flood._lines) <= ours.KINDS_MAX


@pytest.fixture
def configured() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = structlog.get_config(), root.handlers[:], root.level
    written = io.StringIO()
    with redirect_stdout(written):
        configure_logging(service="s", instance="i", level="info")
        structlog.configure(cache_logger_on_first_use=False)
        yield written
    structlog.configure(**before[0])
    structlog.contextvars.clear_contextvars()
    root.handlers[:], root.level = before[1], before[2]


def deep(levels: int) -> None:
    if levels == 0:
        raise ValueError("at the bottom")
    deep(levels - 1)


def test_a_storm_of_mistakes_writes_little(configured: io.StringIO) -> None:
    log, library = structlog.get_logger(), logging.getLogger("library")
    for number in range(2_000):
        try:
            (deep if number % 2 else _other_deep)(200)
        except ValueError:
            log.exception("our_mistake", number=number)
            library.exception("it failed")

    lines = [json.loads(line) for line in configured.getvalue().splitlines()]
    tracebacks = [line["exception"] for line in lines if "exception" in line]
    assert len(configured.getvalue()) < 100_000
    assert len(tracebacks) == 2 * TRACEBACKS_MAX
    assert all(len(text) < TRACEBACK_CHARS_MAX + 100 and "at the bottom" in text for text in tracebacks)
    assert sum(line["event"] == "our_mistake" for line in lines) == LINES_MAX
    assert all(
        line.get("error") == "ValueError"
        for line in lines
        if line["event"] == "our_mistake" and "exception" not in line
    )


def test_a_long_text_is_cut_in_its_middle() -> None:
    text = "Traceback\n" + "x" * 100_000 + "\nValueError: the end"

    found = ours.shortened(text)

    assert len(found) < TRACEBACK_CHARS_MAX + 100
    assert found.startswith("Traceback") and found.endswith("ValueError: the end")
    assert ours.shortened("short") == "short"


def _other_deep(levels: int) -> None:
    deep(levels)
