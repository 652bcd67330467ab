"""What the clients of a replay can know of the service level."""

from typing import Any

import pytest

from porchlight.replay.player import Tally, differences, levels


def seen(*waits: tuple[float, float, float, float], gave_up: int = 0) -> Tally:
    """Each wait: POST sent, POST answered, accept sent, accept answered."""
    tally = Tally(gave_up={f"g{number}" for number in range(gave_up)})
    for number, (posted, promised, accepting, answered) in enumerate(waits):
        name = f"c{number}"
        tally.posted[name], tally.promised[name] = posted, promised
        tally.accepting[name], tally.answered[name] = accepting, answered
    return tally


def test_a_wait_is_known_up_to_the_time_of_the_two_requests() -> None:
    surely = (0.0, 0.005, 0.010, 0.020)
    perhaps = (0.0, 0.015, 0.030, 0.060)
    never = (0.0, 0.010, 0.100, 0.120)

    assert levels(seen(surely, perhaps, never, gave_up=1), threshold_s=0.033) == (1 / 4, 2 / 4)
    assert levels(Tally(), threshold_s=0.033) == (None, None)


@pytest.mark.parametrize(
    ("level", "requeued", "differs"),
    [(0.57, 0, False), (0.40, 0, False), (0.39, 0, True), (0.61, 0, True), (None, 0, True), (0.9, 2, False)],
)
def test_a_level_outside_of_what_the_clients_saw_is_a_difference(
    level: float | None, requeued: int, differs: bool
) -> None:
    counts: dict[str, Any] = {"offered": 5, "answered": 4, "abandoned": 1, "waiting": 0, "asa_s": 0.1, "aht_s": 0.1}
    ours = {**counts, "service_level": 0.40, "service_level_at_most": 0.60}
    theirs = {**counts, "service_level": level, "requeued": requeued}

    assert bool(differences({"clients": ours, "reporting": theirs})) is differs
