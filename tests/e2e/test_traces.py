"""One contact is one trace through all four services, sent by OTLP to whoever listens."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from common.testing.eventually import eventually
from tests.support.centre import Centre
from tests.support.platforms import RunningPlatform, started

pytestmark = pytest.mark.timeout(120)
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVICES = ("intake", "router", "agent-presence", "reporting")


class Receiver:
    """Keeps spans as (service, span)."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.spans += [(about["service.name"], span) for scope in resource.scope_spans for span in scope.spans]

    def of(self, trace: str) -> list[tuple[str, Any]]:
        return [(service, span) for service, span in self.spans if span.trace_id.hex() == trace]


@contextmanager
def receiving() -> Iterator[tuple[Receiver, str]]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Not a line for each message."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield receiver, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def one_life(platform: RunningPlatform) -> None:
    """A contact that was posted as a part of the caller's own trace, to its end."""
    async with platform.clients() as clients:
        centre = Centre(clients, "traced")
        await centre.open()
        desktop = await centre.agent("ann")
        async with httpx.AsyncClient() as client:
            posted = await client.post(
                f"{platform.running.intake[0]}/v1/contacts",
                json={"queue": centre.queue, "channel": "voice"},
                headers={
                    "Authorization": f"Bearer {clients._api_key}",
                    "Idempotency-Key": "traced-1",
                    "traceparent": f"00-{TRACE}-{CALLER}-01",
                },
            )
        assert posted.headers["x-correlation-id"] == TRACE
        offer = await centre.offer(desktop, posted.json()["id"])
        await desktop.accept(offer)
        await desktop.complete(offer)
        await centre.journey(posted.json()["id"], "contact.completed")


async def test_a_contact_is_one_trace_through_all_services(tmp_path: Path) -> None:
    with receiving() as (receiver, url):
        names = {f"{service.upper().replace('-', '_')}_TRACES_URL": url for service in SERVICES}
        with started(tmp_path, environment=names) as platform:
            await one_life(platform)

            async def has_come_to_the_end() -> bool:
                ends = {service for service, span in receiver.of(TRACE) if span.name == "apply contact.completed"}
                return ends == {"intake", "agent-presence", "reporting"}

            await eventually(has_come_to_the_end, within_s=20)
        spans = receiver.of(TRACE)

    named = {(service, span.name) for service, span in spans}
    assert {
        ("intake", "POST /v1/contacts"),
        ("intake", "publish contact.submitted"),
        ("router", "apply contact.submitted"),
        ("router", "publish offer.made"),
        ("intake", "apply contact.completed"),
        ("reporting", "apply offer.accepted"),
        ("agent-presence", "apply offer.made"),
    } <= named
    ids = {span.span_id.hex() for _, span in spans}
    assert len(ids) == len(spans)
    orphans = [(service, span.name) for service, span in spans if span.parent_span_id.hex() not in ids | {CALLER}]
    assert orphans == []
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for _, span in spans)
