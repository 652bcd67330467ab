"""High-water marks: what was seen is dropped, and a gap is never stepped over."""

import pytest

from common.contracts.envelope import Envelope
from common.runtime.bus import Incoming
from common.runtime.failures import InvariantBroken
from common.runtime.following import Sequences


def record(seq: int | None, *, shard: int = 0) -> Incoming:
    envelope = Envelope(event_id="e", type="t", occurred_at_ms=1, key="k", producer="router", sequence=seq)
    return Incoming(topic="routing.v1", partition=shard, offset=0, headers=(), value=b"", envelope=envelope)


def test_each_place_in_a_log_counts_once() -> None:
    sequences = Sequences({0: 2})

    assert [sequences.is_fresh(record(seq)) for seq in (1, 2, 3, 3, 2, 4)] == [False, False, True, False, False, True]


def test_shards_do_not_mix() -> None:
    sequences = Sequences({})

    assert sequences.is_fresh(record(1, shard=3)) and sequences.is_fresh(record(1, shard=4))


def test_a_gap_stops_everything() -> None:
    sequences = Sequences({0: 2})

    with pytest.raises(InvariantBroken, match="sequence 5 after 2"):
        sequences.is_fresh(record(5))


def test_a_fact_without_a_place_is_always_fresh() -> None:
    assert Sequences({0: 9}).is_fresh(record(None))
