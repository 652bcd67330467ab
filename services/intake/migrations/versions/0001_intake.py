"""Contacts as accepted, their personal data apart, idempotency keys, API keys, known queues and skills."""

from alembic import op

from common.runtime.migrations import create_following_tables, create_outbox_table

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE api_key (
  key_id text PRIMARY KEY, client_id text NOT NULL, hash bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz
);
CREATE TABLE idempotency_key (
  client_id text NOT NULL, key text NOT NULL, body_hash bytea NOT NULL, contact_id text NOT NULL, at_ms bigint NOT NULL,
  PRIMARY KEY (client_id, key)
);
CREATE TABLE contact (
  contact_id text PRIMARY KEY, client_id text NOT NULL, pool text NOT NULL, queue text NOT NULL, channel text NOT NULL,
  priority int NOT NULL, requirements jsonb NOT NULL, external_id text, accepted_at_ms bigint NOT NULL,
  state text NOT NULL DEFAULT 'accepted', state_at_ms bigint NOT NULL, attempt int NOT NULL DEFAULT 0,
  agent_id text NOT NULL DEFAULT '', cancel_reason text, cancel_at_ms bigint, repeated_at_ms bigint NOT NULL DEFAULT 0,
  stored_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
CREATE INDEX contact_of_client ON contact (client_id, contact_id);
CREATE INDEX contact_unconfirmed ON contact (accepted_at_ms) WHERE state = 'accepted';
CREATE INDEX contact_leaving ON contact (cancel_at_ms)
 WHERE cancel_at_ms IS NOT NULL AND state IN ('accepted', 'queued', 'offered', 'assigned', 'link_lost');
CREATE TABLE personal (contact_id text PRIMARY KEY REFERENCES contact, customer jsonb NOT NULL);
CREATE TABLE queue (queue_id text PRIMARY KEY, pool text NOT NULL, version int NOT NULL, priority int NOT NULL);
CREATE TABLE skill (skill text PRIMARY KEY)
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)
    create_outbox_table(op)
    op.execute("CREATE INDEX outbox_key ON outbox (key)")
    create_following_tables(op)
