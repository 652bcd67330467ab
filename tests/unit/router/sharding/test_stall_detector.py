"""Which of our own reigns stand still, and since when."""

from router.sharding.stall_detector import PAUSE_S, STALLED_S, Progress


def test_a_reign_stands_still_since_its_last_turn() -> None:
    progress = Progress()

    assert progress.still_s({1: 5, 2: 8}, now_s=100.0) == {1: 0.0, 2: 0.0}
    assert progress.still_s({1: 6, 2: 8}, now_s=101.0) == {1: 0.0, 2: 1.0}
    assert progress.still_s({1: 7, 2: 8}, now_s=104.0) == {1: 0.0, 2: 4.0}


def test_another_reign_over_the_same_shard_begins_anew() -> None:
    progress = Progress()
    progress.still_s({1: 5}, now_s=100.0)
    progress.still_s({}, now_s=101.0)

    assert progress.still_s({1: 5}, now_s=102.0) == {1: 0.0}
    assert progress.still_s({1: ("another", 5)}, now_s=103.0) == {1: 0.0}


def test_after_a_pause_of_our_own_stillness_proves_nothing() -> None:
    progress = Progress()
    progress.still_s({1: 5}, now_s=100.0)

    assert progress.still_s({1: 5}, now_s=100.0 + STALLED_S) == {1: 0.0}
    assert progress.still_s({1: 5}, now_s=100.0 + STALLED_S + PAUSE_S) == {1: PAUSE_S}
