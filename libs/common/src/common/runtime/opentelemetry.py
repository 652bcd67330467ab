"""Spans that leave by OTLP over HTTP. Imported only where tracing is on: its libraries are an optional extra."""

from threading import Timer

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from common.runtime.clock import SystemClock
from common.runtime.spans import EXPORT_TIMEOUT_S, QUEUE_MAX, Parent

LOW_BITS = (1 << 64) - 1
SCOPE = InstrumentationScope("porchlight")


class OtlpSpans:
    """See `common.runtime.spans.Spans`. A thread of its own sends; what does not get through in time is dropped."""

    def __init__(self, *, service: str, instance: str, url: str, share: float) -> None:
        self._bound = round(share * (1 << 64))
        self._resource = Resource.create(
            {"service.namespace": "porchlight", "service.name": service, "service.instance.id": instance}
        )
        self._exporter = OTLPSpanExporter(endpoint=f"{url.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S)
        self._processor = BatchSpanProcessor(self._exporter, max_queue_size=QUEUE_MAX, schedule_delay_millis=1_000)

    def write(
        self, *, name: str, kind: str, me: Parent, parent: int, began_ns: int, failed: bool, **about: str | int
    ) -> None:
        """See `common.runtime.spans.Spans`."""
        trace_id, own_id = me
        if trace_id & LOW_BITS >= self._bound:
            return
        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=_context(trace_id, own_id),
                parent=_context(trace_id, parent) if parent else None,
                resource=self._resource,
                attributes=about,
                kind=SpanKind[kind],
                status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
                start_time=began_ns,
                end_time=SystemClock.wall_ns(),
                instrumentation_scope=SCOPE,
            )
        )

    def close(self) -> None:
        """See `common.runtime.spans.Spans`. The processor by itself would try for half a minute."""
        giving_up = Timer(EXPORT_TIMEOUT_S, self._exporter.shutdown)
        giving_up.start()
        self._processor.shutdown()  # type: ignore[no-untyped-call]
        giving_up.cancel()


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
