"""Traces need no storage: every id follows from what a fact carries anyway."""

import re
from collections.abc import Sequence

import pytest

from common.contracts.contacts import CancelRequested
from common.runtime import tracing
from common.runtime.bus import Incoming, Outgoing, envelope_for, incoming, outgoing
from common.runtime.failures import Retryable


class Kept:
    def __init__(self) -> None:
        self.spans: list[dict[str, object]] = []

    def write(self, **span: object) -> None:
        self.spans.append(span)

    def close(self) -> None:
        """Nothing waits."""


class Kafka:
    def __init__(self, *, is_away: bool = False) -> None:
        self.is_away = is_away
        self.records: list[Outgoing] = []

    async def publish(self, records: Sequence[Outgoing]) -> None:
        if self.is_away:
            raise Retryable("away")
        self.records += records


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    spans = Kept()
    monkeypatch.setattr(tracing, "_spans", spans)
    return spans


def record(event_id: str = "e1", correlation_id: str = "call-7") -> Outgoing:
    fact = CancelRequested(contact_id="c", pool="p", reason="withdrawn", requested_at_ms=1)
    envelope = envelope_for(fact, event_id=event_id, at_ms=1, key="c", producer="intake", correlation_id=correlation_id)
    return outgoing("contacts.v1", 0, envelope, fact)


def asked(method: str, route: str, *, correlation_id: str, traceparent: str = "", status: int = 200) -> None:
    """A request that came and was answered."""
    about = {"method": method, "correlation_id": correlation_id, "traceparent": traceparent}
    with tracing.request(about):
        about |= {"route": route, "status": status}


def read(published: Outgoing) -> Incoming:
    return incoming(published.topic, published.partition, 0, published.headers, published.value)


def test_a_correlation_id_that_is_a_uuid_or_a_trace_id_is_the_trace_id() -> None:
    assert tracing.trace_id_of("0192f000-0000-7000-8000-00000000abcd") == 0x0192F000000070008000_00000000ABCD
    assert tracing.trace_id_of("4bf92f3577b34da6a3ce929d0e0e4736") == 0x4BF92F3577B34DA6A3CE929D0E0E4736


def test_any_other_correlation_id_has_a_trace_of_its_own() -> None:
    found = {tracing.trace_id_of(text) for text in ("call-7", "call-8", "0192f000-0000-7000-8000-00000000abcg")}

    assert len(found) == 3 and all(0 < one < 1 << 128 for one in found)
    assert tracing.trace_id_of("call-7") == tracing.trace_id_of("call-7")


@pytest.mark.parametrize(
    ("header", "correlation"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", ""),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", ""),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", ""),
        ("", ""),
    ],
)
def test_a_callers_trace_goes_on_when_its_header_is_whole(header: str, correlation: str) -> None:
    assert tracing.correlation_from(header) == correlation


async def test_command_published_fact_and_applied_fact_are_parent_and_child(kept: Kept) -> None:
    kafka = Kafka()
    asked("POST", "/v1/contacts", correlation_id="call-7")
    await tracing.traced(kafka).publish([record()])
    with tracing.applying("router", [read(kafka.records[0])]):
        pass

    command, published, applied = kept.spans
    trace = tracing.trace_id_of("call-7")
    assert [span["name"] for span in kept.spans] == [
        "POST /v1/contacts", "publish contact.cancel_requested", "apply contact.cancel_requested"
    ]  # fmt: skip
    assert command["me"] == (trace, published["parent"]) and command["parent"] == 0
    assert published["me"] == (trace, applied["parent"])
    assert applied["me"][0] == trace  # type: ignore[index]


async def test_the_header_on_kafka_is_that_of_trace_context(kept: Kept) -> None:
    kafka = Kafka()
    await tracing.traced(kafka).publish([record()])

    value = dict(kafka.records[0].headers)[tracing.TRACEPARENT].decode()
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", value)
    assert read(kafka.records[0]).fact == read(record()).fact, "who does not know the header reads as before"


async def test_a_fact_published_again_after_a_crash_is_the_same_span_and_another_fact_is_not(kept: Kept) -> None:
    publisher = tracing.traced(Kafka())
    await publisher.publish([record("e1"), record("e2")])
    await publisher.publish([record("e1")])

    first, second, again = (span["me"] for span in kept.spans)
    assert first == again != second


async def test_what_kafka_did_not_acknowledge_has_no_span(kept: Kept) -> None:
    with pytest.raises(Retryable):
        await tracing.traced(Kafka(is_away=True)).publish([record()])
    with pytest.raises(ZeroDivisionError), tracing.applying("router", [read(record())]):
        _ = 1 // 0

    assert kept.spans == []


async def test_a_fact_that_nobody_commanded_is_published_as_it_is(kept: Kept) -> None:
    kafka = Kafka()
    await tracing.traced(kafka).publish([record(correlation_id="")])

    assert kafka.records == [record(correlation_id="")] and kept.spans == []


def test_reads_are_children_of_their_caller_and_probes_are_no_spans(kept: Kept) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    for route in ("/v1/contacts/{contact_id}", "/v1/contacts/{contact_id}", "/readyz"):
        asked("GET", route, correlation_id=trace, traceparent=f"00-{trace}-{parent}-01")

    assert [span["parent"] for span in kept.spans] == [int(parent, 16)] * 2
    assert len({span["me"] for span in kept.spans}) == 2, "two reads are two spans"


def test_without_an_address_nothing_is_wrapped_and_nothing_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_spans", None)
    kafka = Kafka()

    tracing.configure_tracing(service="intake", instance="1", url="", share=1.0)

    assert tracing.traced(kafka) is kafka
