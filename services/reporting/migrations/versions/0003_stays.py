"""Figures by stay: what finds the stays of a queue, and stays that should not count as waiting end where they ended."""

from alembic import op

revision = "0003"
down_revision = "0002"
works_with = "0001"

# Older code left the stay in the queue open while a contact was kept for its callback.
PUT_OFF = """
UPDATE segment s SET ended_at_ms = arranged.at_ms, end_reason = 'callback'
  FROM contact c, LATERAL (
    SELECT max(at_ms) AS at_ms FROM step WHERE step.contact_id = c.contact_id AND type = 'contact.callback_arranged') arranged
 WHERE c.state = 'scheduled' AND s.contact_id = c.contact_id AND s.kind = 'queue' AND s.ended_at_ms IS NULL
   AND arranged.at_ms IS NOT NULL
"""


def upgrade() -> None:
    op.execute("CREATE INDEX segment_by_queue ON segment (queue, kind, started_at_ms)")
    op.execute("CREATE INDEX segment_now ON segment (queue) WHERE ended_at_ms IS NULL")
    op.execute("CREATE INDEX segment_before_due ON segment (queue, ended_at_ms) WHERE kind = 'scheduled'")
    op.execute(
        "CREATE INDEX segment_until ON segment (pool, coalesce(ended_at_ms, 9223372036854775807)) WHERE kind = 'agent'"
    )
    op.execute("CREATE INDEX stay_until ON stay (pool, coalesce(ended_at_ms, 9223372036854775807))")
    op.execute(PUT_OFF)
