"""What agent-presence measures. Name, kind and meaning stand here and nowhere else."""

from prometheus_client import Counter, Gauge

leases_expired = Counter("presence_leases_expired_total", "Agents who gave no sign of life for a lease")
commands = Counter("presence_commands_total", "Answers to agents' commands", ("verb", "outcome"))
refused_often = Counter("presence_too_often_total", "Calls refused because one agent asked too often", ("what",))
long_polls = Gauge("presence_long_polls", "Inbox requests that wait for news here")
