"""What every service measures of its HTTP edge; a service's own figures stand in its `metrics.py`."""

from prometheus_client import Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0)

requests = Counter("http_requests_total", "Answers by route and status", ("method", "route", "status"))
seconds = Histogram("http_request_seconds", "Time to the answer", ("method", "route"), buckets=BUCKETS)


def exposition() -> tuple[bytes, str]:
    """The page for Prometheus and its content type."""
    return generate_latest(), CONTENT_TYPE_LATEST
