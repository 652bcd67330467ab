"""Agents, skills, sessions with leases, commands, and what each agent has before it."""

from alembic import op

from common.runtime.migrations import create_following_tables, create_outbox_table

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE skill (skill text PRIMARY KEY, version int NOT NULL DEFAULT 1);
CREATE TABLE agent (
  agent_id text PRIMARY KEY, pool text NOT NULL, skills jsonb NOT NULL, units int NOT NULL, enabled boolean NOT NULL
);
CREATE TABLE session (
  agent_id text PRIMARY KEY REFERENCES agent, session_no int NOT NULL, seq int NOT NULL, presence text NOT NULL,
  lease_expires_at timestamptz NOT NULL, ended_at timestamptz, end_reason text
) WITH (fillfactor = 50);
CREATE INDEX session_lease ON session (lease_expires_at) WHERE ended_at IS NULL;
CREATE TABLE command (
  agent_id text NOT NULL, command_id text NOT NULL, session_no int NOT NULL, verb text NOT NULL, contact_id text NOT NULL,
  attempt int NOT NULL, issued_at_ms bigint NOT NULL, outcome text, PRIMARY KEY (agent_id, command_id)
) WITH (fillfactor = 80);
CREATE TABLE inbox_item (
  contact_id text PRIMARY KEY, agent_id text NOT NULL, attempt int NOT NULL, state text NOT NULL, queue text NOT NULL,
  channel text NOT NULL, priority int NOT NULL, units int NOT NULL, routing_age_at_ms bigint NOT NULL, due_ms bigint,
  shard int NOT NULL, seq bigint NOT NULL
) WITH (fillfactor = 70);
CREATE TABLE agent_routing (
  agent_id text PRIMARY KEY, session_no int NOT NULL, routing_state text NOT NULL, reason text NOT NULL, shard int NOT NULL,
  seq bigint NOT NULL
) WITH (fillfactor = 70)
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)
    create_outbox_table(op)
    create_following_tables(op)
