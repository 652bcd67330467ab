"""What the checker makes of clocks that differ as they may."""

import pytest

from porchlight_checker.check import check
from porchlight_checker.history import History, Line, Published

COMMITTED_MS = 1_795_608_000_000


def one_fact(*, sent_ms: float, database_ahead_ms: float = 0) -> History:
    """A log of one line, published once. `sent_ms`: from the commit on, by the sender's clock."""
    what = {"shard": 0, "seq": 1, "epoch": 1, "type": "shard.taken", "body": "{}"}
    return History(
        log=[Line(**what, at_ms=COMMITTED_MS, committed_ms=COMMITTED_MS)],
        published=[Published(**what, sent_ms=round(COMMITTED_MS + sent_ms))],
        last_seq={0: 1},
        database_ahead_ms=database_ahead_ms,
    )


@pytest.mark.parametrize("sent_ms", [0, 5, 15_000, -15_000, -59_000])
def test_clocks_that_differ_as_they_may_are_no_finding(sent_ms: float) -> None:
    assert check(one_fact(sent_ms=sent_ms)).violations == []


def test_a_difference_of_clocks_that_was_measured_is_no_finding() -> None:
    assert check(one_fact(sent_ms=-2_998, database_ahead_ms=3_000)).violations == []


@pytest.mark.parametrize(("sent_ms", "ahead_ms"), [(-20, 0), (-4_000, 0), (-3_020, 3_000), (-20, -3_000)])
def test_what_was_published_before_it_was_written_is_found(sent_ms: float, ahead_ms: float) -> None:
    found = check(one_fact(sent_ms=sent_ms, database_ahead_ms=ahead_ms)).violations
    assert [one.invariant for one in found] == ["I6"]
