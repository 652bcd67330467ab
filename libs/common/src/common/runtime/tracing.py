"""Traces by OpenTelemetry, where an address for them is set: requests, facts that are published, facts that are applied.

Nothing is stored for them. The correlation id travels from the POST to the last fact and survives every restart already, so
a trace's id is made from it, and a fact's span id from its event id: whoever publishes the fact again after a crash writes
the same span, and whoever reads it knows the parent from the record's `traceparent` header (W3C Trace Context).
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import msgspec

from common.runtime.bus import Incoming, Outgoing, Publisher
from common.runtime.clock import SystemClock, span_id
from common.runtime.spans import Parent, Spans

TRACEPARENT = "traceparent"
UNTRACED_ROUTES = {"/healthz", "/readyz", "/metrics"}
READ_METHODS = {"GET", "HEAD", "OPTIONS"}
"""Of requests that change nothing."""
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_HEX_ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")

_spans: Spans | None = None


def configure_tracing(*, service: str, instance: str, url: str, share: float) -> None:
    """Write spans to the OTLP/HTTP receiver at `url` from now on; an empty one leaves tracing off.

    `share`: the part of all traces that is kept, 0 to 1, chosen by their id, so that all services keep the same ones. Ends
    the process when the libraries are not installed.
    """
    global _spans
    if not url:
        return
    try:
        from common.runtime.opentelemetry import OtlpSpans
    except ImportError as why:
        setting = f"{service.upper().replace('-', '_')}_TRACES_URL"
        way_out = "install porchlight-common[tracing]; for images, PORCHLIGHT_TRACING=1 and `make up`"
        print(f"setting {setting}: {why.name} is not installed; {way_out}", file=sys.stderr)
        raise SystemExit(2) from why
    _spans = OtlpSpans(service=service, instance=instance, url=url, share=share)


def close_tracing() -> None:
    """Send what waits."""
    if _spans is not None:
        _spans.close()


def correlation_from(traceparent: str) -> str:
    """The trace id that a caller sent, to be the correlation id; empty when there is none."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found and int(found[1], 16) and int(found[2], 16) else ""


def trace_id_of(correlation_id: str) -> int:
    """The trace of a correlation id: its own digits where it is a UUID or a trace id, else a hash of it."""
    if _HEX_ID.fullmatch(correlation_id):
        return int(correlation_id.replace("-", ""), 16) or 1
    return int.from_bytes(sha256(correlation_id.encode()).digest()[:16], "big") or 1


def _span_id_of(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") or 1


def _root_of(correlation_id: str) -> int:
    """The span of the command that began the trace: its facts know it by the correlation id alone."""
    return _span_id_of(f"command/{correlation_id}")


@contextmanager
def request(about: Mapping[str, Any]) -> Iterator[None]:
    """A request. `about` has `method`, `correlation_id` and `traceparent`; the block adds `route` and `status`."""
    began_ns = SystemClock.wall_ns()
    try:
        yield
    finally:
        if _spans is not None and about["route"] not in UNTRACED_ROUTES:
            _write_request(_spans, about, began_ns)


def _write_request(spans: Spans, about: Mapping[str, Any], began_ns: int) -> None:
    correlation = about["correlation_id"]
    caller = _TRACEPARENT.fullmatch(about["traceparent"])
    trace = trace_id_of(correlation)
    is_command = about["method"] not in READ_METHODS
    spans.write(
        name=f"{about['method']} {about['route']}",
        kind="SERVER",
        me=(trace, _root_of(correlation) if is_command else span_id()),
        parent=int(caller[2], 16) if caller and int(caller[1], 16) == trace else 0,
        began_ns=began_ns,
        failed=about["status"] >= 500,
        **{
            "http.request.method": about["method"],
            "http.route": about["route"],
            "http.response.status_code": about["status"],
            "correlation_id": correlation,
        },
    )


class TracedPublisher:
    """A publisher that gives each record its `traceparent`, and writes its span once Kafka has acknowledged it."""

    def __init__(self, publisher: Publisher, spans: Spans) -> None:
        self._publisher = publisher
        self._spans = spans

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """See `common.runtime.bus.Publisher`."""
        began_ns = SystemClock.wall_ns()
        parents = [_own_place(record) for record in records]
        await self._publisher.publish(
            [
                record if parent is None else _with_parent(record, parent)
                for record, parent in zip(records, parents, strict=True)
            ]
        )
        for record, parent in zip(records, parents, strict=True):
            if parent is not None:
                headers = dict(record.headers)
                self._spans.write(
                    name=f"publish {headers['ce_type'].decode()}",
                    kind="PRODUCER",
                    me=parent,
                    parent=_root_of(headers["ce_correlationid"].decode()),
                    began_ns=began_ns,
                    failed=False,
                    **_about(record.topic, record.partition, record.key, headers["ce_id"].decode()),
                )


def traced(publisher: Publisher) -> Publisher:
    """`publisher`, with traces where they are on."""
    return publisher if _spans is None else TracedPublisher(publisher, _spans)


@contextmanager
def applying(reader: str, records: Sequence[Incoming]) -> Iterator[None]:
    """Facts are being applied; when the block ends without an error each one has its span."""
    began_ns = SystemClock.wall_ns()
    yield
    if _spans is None:
        return
    for record in records:
        found = _TRACEPARENT.fullmatch(dict(record.headers).get(TRACEPARENT, b"").decode("latin-1"))
        if found and record.envelope is not None:
            _spans.write(
                name=f"apply {record.envelope.type}",
                kind="CONSUMER",
                me=(int(found[1], 16), span_id()),
                parent=int(found[2], 16),
                began_ns=began_ns,
                failed=False,
                reader=reader,
                **_about(record.topic, record.partition, record.envelope.key, record.envelope.event_id),
            )


def _own_place(record: Outgoing) -> Parent | None:
    """Trace and span of a fact; None when nobody's command led to it."""
    headers = dict(record.headers)
    correlation = headers.get("ce_correlationid", b"").decode()
    return (trace_id_of(correlation), _span_id_of(f"fact/{headers['ce_id'].decode()}")) if correlation else None


def _with_parent(record: Outgoing, parent: Parent) -> Outgoing:
    value = f"00-{parent[0]:032x}-{parent[1]:016x}-01".encode()
    return msgspec.structs.replace(record, headers=(*record.headers, (TRACEPARENT, value)))


def _about(topic: str, partition: int, key: str, event_id: str) -> dict[str, str | int]:
    """By the names of OpenTelemetry's conventions for messaging."""
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        "messaging.message.id": event_id,
        "messaging.kafka.message.key": key,
    }
