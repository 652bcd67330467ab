"""Contacts, their segments and steps, agents' stays, queues."""

from alembic import op

from common.runtime.migrations import create_following_tables

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE queue (
  queue_id text PRIMARY KEY, pool text NOT NULL, version int NOT NULL, service_level_ms int NOT NULL
);
CREATE TABLE contact (
  contact_id text PRIMARY KEY, pool text NOT NULL, queue text NOT NULL, channel text NOT NULL, units int NOT NULL,
  state text NOT NULL, accepted_at_ms bigint NOT NULL, answered_at_ms bigint, ended_at_ms bigint,
  attempts int NOT NULL, segments int NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX contact_by_queue ON contact (queue, accepted_at_ms);
CREATE TABLE segment (
  contact_id text NOT NULL, no int NOT NULL, kind text NOT NULL, pool text NOT NULL, queue text NOT NULL,
  agent_id text NOT NULL, units int NOT NULL, started_at_ms bigint NOT NULL, wrap_up_at_ms bigint, ended_at_ms bigint,
  end_reason text NOT NULL, PRIMARY KEY (contact_id, no)
) WITH (fillfactor = 70);
CREATE INDEX segment_open ON segment (contact_id) WHERE ended_at_ms IS NULL;
CREATE INDEX segment_by_pool ON segment (pool, started_at_ms) WHERE kind = 'agent';
CREATE TABLE step (
  shard int NOT NULL, seq bigint NOT NULL, contact_id text NOT NULL, at_ms bigint NOT NULL, type text NOT NULL,
  attempt int, agent_id text, reason text, PRIMARY KEY (shard, seq)
);
CREATE INDEX step_of_contact ON step (contact_id, seq);
CREATE TABLE submission (contact_id text PRIMARY KEY, queue text NOT NULL, accepted_at_ms bigint NOT NULL);
CREATE TABLE stay (
  agent_id text NOT NULL, session_no int NOT NULL, seq int NOT NULL, pool text NOT NULL, presence text NOT NULL,
  units int NOT NULL, started_at_ms bigint NOT NULL, ended_at_ms bigint, PRIMARY KEY (agent_id, session_no, seq)
);
CREATE INDEX stay_by_pool ON stay (pool, started_at_ms)
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)
    create_following_tables(op)
