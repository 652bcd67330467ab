"""Facts on the wire: bytes that are never edited, only added to."""

from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from common.contracts.codec import TYPES, BadFact, decode, encode, type_of
from common.contracts.envelope import BadEnvelope, Envelope, from_headers, to_headers
from common.contracts.topics import CATALOGUE, shard_of
from tests.unit.common.contracts.samples import sample

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", sorted(TYPES))
def test_a_fact_has_the_bytes_that_it_had_when_it_was_last_added_to(name: str) -> None:
    newest = sorted((GOLDEN / name).iterdir())[-1].read_bytes().rstrip(b"\n")

    assert encode(sample(TYPES[name])) == newest
    assert decode(name, newest) == sample(TYPES[name])


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_bytes_of_every_release_are_read_with_what_came_later_at_its_default(path: Path) -> None:
    fact = decode(path.parent.name, path.read_bytes())

    assert fact is not None
    then = msgspec.json.decode(path.read_bytes())
    now = msgspec.json.decode(encode(fact))
    fresh = {field.name: field.default for field in msgspec.structs.fields(fact) if field.encode_name not in then}
    assert {name: now[name] for name in then} == then
    assert all(getattr(fact, name) == default or not getattr(fact, name) for name, default in fresh.items())


def test_every_golden_file_is_of_a_known_type() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(TYPES)


@pytest.mark.parametrize("name", sorted(TYPES))
def test_a_reader_ignores_fields_that_it_does_not_know(name: str) -> None:
    fields = msgspec.json.decode(encode(sample(TYPES[name])))

    assert decode(name, msgspec.json.encode({**fields, "from_the_future": 1})) == sample(TYPES[name])


def test_a_type_from_the_future_is_no_error() -> None:
    assert decode("contact.teleported", b"{}") is None


def test_bytes_that_are_not_the_fact_are_an_error() -> None:
    for value in (b"", b"{}", b'{"type": "offer.made"}', b"\xff", b"[1]"):
        with pytest.raises(BadFact):
            decode("offer.made", value)


def test_every_fact_belongs_to_one_topic() -> None:
    facts = [type_of(sample(fact)) for topic in CATALOGUE for fact in topic.facts]

    assert len(facts) == len(set(facts)) == len(TYPES)


envelopes = st.builds(
    Envelope,
    event_id=st.text("abc-1", min_size=1),
    type=st.sampled_from(sorted(TYPES)),
    occurred_at_ms=st.integers(0, 4_000_000_000_000),
    key=st.text("abcæ", min_size=1),
    producer=st.sampled_from(["intake", "agent-presence"]),
    correlation_id=st.text("abc", max_size=5),
    sequence=st.none() | st.integers(1, 2**60),
    epoch=st.none() | st.integers(1, 2**60),
)


@given(envelopes)
def test_an_envelope_survives_the_wire(envelope: Envelope) -> None:
    assert from_headers(to_headers(envelope)) == envelope


def test_headers_are_cloudevents_in_binary_mode() -> None:
    headers = dict(to_headers(Envelope(event_id="e", type="t", occurred_at_ms=1_500, key="k", producer="router")))

    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_source"] == b"/porchlight/router"
    assert headers["ce_time"] == b"1970-01-01T00:00:01.500Z"
    assert headers["content-type"] == b"application/json"


@pytest.mark.parametrize("drop", ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time"])
def test_an_envelope_with_a_hole_is_refused(drop: str) -> None:
    headers = to_headers(Envelope(event_id="e", type="t", occurred_at_ms=1, key="k", producer="router"))

    with pytest.raises(BadEnvelope):
        from_headers([header for header in headers if header[0] != drop])


def test_a_pools_shard_never_changes() -> None:
    """A pool's contacts and agents meet in this partition: another value would part them."""
    assert [shard_of(pool) for pool in ("porch", "calls", "bench", "retail")] == [11, 7, 9, 9]
