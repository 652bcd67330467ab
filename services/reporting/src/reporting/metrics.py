"""What reporting measures. Name, kind and meaning stand here and nowhere else."""

from prometheus_client import Gauge

WINDOW_S = 3_600
offered = Gauge("reporting_offered_contacts", "Contacts of the last hour", ("queue",))
answered = Gauge("reporting_answered_contacts", "Of those, answered", ("queue",))
abandoned = Gauge("reporting_abandoned_contacts", "Of those, abandoned before an answer", ("queue",))
waiting = Gauge("reporting_waiting_contacts", "Of those, neither answered nor over", ("queue",))
service_level = Gauge(
    "reporting_service_level_ratio", "Service level of the last hour, by the formula", ("queue", "formula")
)
asa_seconds = Gauge(
    "reporting_asa_seconds", "Mean wait of the answered contacts of the last hour, formula asa.1", ("queue",)
)
behind_seconds = Gauge("reporting_behind_seconds", "How old the newest figures are")
