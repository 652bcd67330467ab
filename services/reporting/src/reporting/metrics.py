"""What reporting measures. Name, kind and meaning stand here and nowhere else."""

from prometheus_client import Gauge

WINDOW_S = 3_600
offered = Gauge("reporting_offered_contacts", "Stays in the queue that began in the last hour", ("queue",))
answered = Gauge("reporting_answered_contacts", "Of those, answered", ("queue",))
abandoned = Gauge("reporting_abandoned_contacts", "Of those, abandoned before an answer", ("queue",))
waiting = Gauge(
    "reporting_waiting_contacts", "Contacts that wait now, also those with an offer out, whenever they came", ("queue",)
)
oldest_seconds = Gauge(
    "reporting_oldest_wait_seconds", "How long the one of them has waited who waits longest", ("queue",)
)
scheduled = Gauge("reporting_scheduled_contacts", "Contacts that are kept for a later time", ("queue",))
service_level = Gauge(
    "reporting_service_level_ratio", "Service level of the last hour, by the formula", ("queue", "formula")
)
asa_seconds = Gauge(
    "reporting_asa_seconds", "Mean wait of the answered stays of the last hour, formula asa.2", ("queue",)
)
behind_seconds = Gauge("reporting_behind_seconds", "How old the newest figures are")
