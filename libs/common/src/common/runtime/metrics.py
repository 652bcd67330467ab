"""What every service measures: its HTTP edge, its outbox, what it reads. A service's own figures stand in its `metrics.py`.

Name, kind, labels and meaning stand with each metric and nowhere else; `docs/metrics.md` is written from them. Labels are
routes, queues, pools, topics and the like: never contacts, agents or customers.
"""

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0)
AGES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

requests = Counter("http_requests_total", "Answers by route and status", ("method", "route", "status"))
seconds = Histogram("http_request_seconds", "Time to the answer", ("method", "route"), buckets=BUCKETS)
commit_items = Histogram("shared_commit_items", "Calls that shared one commit", ("what",), buckets=SIZES)
commits_split = Counter(
    "shared_commits_split_total",
    "Shared commits that failed by one call's data and were tried again one by one",
    ("what",),
)
log_left_out = Counter(
    "log_lines_left_out_total", "Lines above the bound of their kind that were not written", ("level",)
)
connections_refused = Counter(
    "connections_refused_total", "Connections that we ended: too many, slow, head too large, malformed", ("why",)
)
outbox_published = Counter("outbox_published_total", "Facts that Kafka acknowledged", ("way",))
outbox_rows = Gauge("outbox_rows", "Facts that are committed and not yet published")
outbox_oldest_seconds = Gauge("outbox_oldest_seconds", "Age of the oldest of them")
hop_age_seconds = Histogram(
    "hop_age_seconds",
    "From a fact's time to its reading here, by the clocks of both machines",
    ("reader", "topic"),
    buckets=AGES,
)
hop_lag_records = Gauge("hop_lag_records", "Records that Kafka has and this reader has not read", ("reader", "topic"))
follower_leads = Gauge("follower_leads", "1 for the replica that applies the facts", ("follower",))
facts_refused = Counter(
    "facts_refused_total",
    "Records of a shard's log that have no place there, or before which facts are missing",
    ("reader",),
)
log_gaps = Gauge(
    "log_gaps", "Shards whose log misses facts for this reader, so that it does not go on there", ("reader",)
)
reader_failures = Counter(
    "reader_failures_total", "Batches of facts whose effect failed by a mistake of ours", ("reader",)
)
parked = Counter("parked_records_total", "Records put aside because they cannot be read", ("reader",))
credentials_refused = Counter(
    "credentials_refused_total",
    "Requests whose credential was refused (401), or whose role or session may not do that (403)",
    ("kind", "reason"),
)
token_keys = Gauge("token_keys", "Keys of the JWKS file: usable ones, and odd ones that are skipped", ("which",))
token_keys_unreadable = Gauge("token_keys_unreadable", "1 while the JWKS file is missing, empty or not whole")
database_trouble = Gauge("database_trouble", "1 while the schema does not fit or the database does not answer")


def read(reader: str, *, topic: str, occurred_at_ms: int, now_ms: int) -> None:
    """A fact was read."""
    hop_age_seconds.labels(reader, topic).observe(max(0, now_ms - occurred_at_ms) / 1000)


def exposition() -> tuple[bytes, str]:
    """The page for Prometheus and its content type."""
    return generate_latest(), CONTENT_TYPE_LATEST
