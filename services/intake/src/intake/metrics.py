"""What intake measures. Name, kind and meaning stand here and nowhere else."""

from prometheus_client import Counter

accepted = Counter("intake_contacts_accepted_total", "Contacts that were promised to be kept", ("channel",))
refused = Counter("intake_contacts_refused_total", "Contacts that were not, and why", ("why",))
repeated = Counter("intake_contacts_repeated_total", "Facts that were sent again because nobody confirmed them")
