"""What the router measures. Name, kind and meaning stand here and nowhere else."""

from prometheus_client import Counter, Gauge, Histogram

from common.runtime import metrics as common

divergences = Counter(
    "router_divergence_total",
    "Batches that the database refused because memory was wrong; must be 0",
)
fenced = Counter("router_fenced_total", "Batches refused because another reign had begun")
reigns_ended = Counter("router_reigns_ended_total", "Reigns that ended, and why", ("why",))
reign_epoch = Gauge("router_reign_epoch", "The epoch of a shard that this instance owns", ("shard",))
decisions = Counter("router_decisions_total", "Lines of the routing log by type", ("type",))
takeovers = Counter("router_takeover_total", "Reigns begun", ("shard",))
batch_lines = Histogram("router_batch_lines", "Decisions a commit", buckets=(0, 1, 2, 4, 8, 16, 32, 64, 128))
commit_seconds = Histogram("router_commit_seconds", "Time of one committing statement", buckets=common.BUCKETS)
shards_owned = Gauge("router_shards_owned", "Shards that this instance owns")
unpublished_lines = Gauge(
    "router_unpublished_lines",
    "Committed lines that Kafka has not acknowledged",
    ("shard",),
)
estimates_judged = Counter("router_wait_estimates_judged_total", "Answered contacts whose first estimate was kept.")
wait_within_estimate = Counter(
    "router_wait_within_estimate_total",
    "Of those, waits not longer than the quantile: calibrated at 0.5 and 0.9.",
    ["quantile"],
)
failures = Counter(
    "router_failures_total",
    "Tenures of a shard that a mistake of ours ended, by kind of error; must be 0",
    ("kind",),
)
timers_set_aside = Counter(
    "router_timers_set_aside_total", "Timers that ring no more because they made us fail again and again"
)
left_out = Counter(
    "router_left_out_total",
    "Kept contacts and agents that a rebuild could not take up as they are, and why",
    ("why",),
)
shards_failing = Gauge("router_shards_failing", "Shards whose tenures here end within seconds, one after the other")
scorer_late = Counter("router_scorer_late_total", "Contacts whose scorer failed or took longer than its budget.")

# Prometheus sees no increase in a series that appears at 1, so what an alert waits for is there from the start.
common.parked.labels("router")
for why in ("lost", "given_back", "fenced", "diverged", "cut_off", "stalled", "failed"):
    reigns_ended.labels(why)
for why in ("undecodable", "need"):
    left_out.labels(why)
for why in ("AssertionError", "KeyError", "RecursionError"):
    failures.labels(why)
