"""Queues, shard leases, the routing log, live contacts and agents, assignments and capacity units."""

from alembic import op

from common.runtime.migrations import create_outbox_table

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE queue (
  queue_id text PRIMARY KEY, pool text NOT NULL, shard int NOT NULL, version int NOT NULL, requirements jsonb NOT NULL,
  priority int NOT NULL, offer_timeout_ms int NOT NULL, wrap_up_ms int NOT NULL, link_grace_ms int NOT NULL,
  service_level_ms int NOT NULL
);
CREATE TABLE router_instance (instance_id text PRIMARY KEY, renew_counter bigint NOT NULL);
CREATE TABLE shard_lease (
  shard int PRIMARY KEY, epoch bigint NOT NULL DEFAULT 0, owner text NOT NULL DEFAULT '', backend_pid int,
  renew_counter bigint NOT NULL DEFAULT 0, last_seq bigint NOT NULL DEFAULT 0,
  input_offsets jsonb NOT NULL DEFAULT '{}', published_seq bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO shard_lease (shard) SELECT generate_series(0, 11);
CREATE TABLE routing_log (
  shard int NOT NULL, seq bigint NOT NULL, epoch bigint NOT NULL, type text NOT NULL, at_ms bigint NOT NULL,
  key text NOT NULL, body text NOT NULL, committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (shard, seq)
);
CREATE TABLE contact (
  contact_id text PRIMARY KEY, shard int NOT NULL, queue_id text NOT NULL, state text NOT NULL, attempt int NOT NULL,
  agent_id text NOT NULL, ended_at_ms bigint, doc text NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX contact_live ON contact (shard) WHERE ended_at_ms IS NULL;
CREATE INDEX contact_ended ON contact (shard, ended_at_ms) WHERE ended_at_ms IS NOT NULL;
CREATE TABLE agent (
  shard int NOT NULL, agent_id text NOT NULL, doc text NOT NULL, PRIMARY KEY (shard, agent_id)
) WITH (fillfactor = 70);
CREATE TABLE agent_unit (agent_id text NOT NULL, unit_no int NOT NULL, PRIMARY KEY (agent_id, unit_no));
CREATE TABLE assignment (
  contact_id text NOT NULL REFERENCES contact, attempt int NOT NULL, agent_id text NOT NULL, epoch bigint NOT NULL,
  released_at_ms bigint, PRIMARY KEY (contact_id, attempt)
);
CREATE UNIQUE INDEX one_live_assignment ON assignment (contact_id) WHERE released_at_ms IS NULL;
CREATE TABLE unit_use (
  agent_id text NOT NULL, unit_no int NOT NULL, contact_id text NOT NULL, attempt int NOT NULL,
  PRIMARY KEY (agent_id, unit_no),
  FOREIGN KEY (agent_id, unit_no) REFERENCES agent_unit,
  FOREIGN KEY (contact_id, attempt) REFERENCES assignment
);
CREATE INDEX unit_use_contact ON unit_use (contact_id, attempt);
CREATE TABLE parked (
  topic text NOT NULL, partition int NOT NULL, record_offset bigint NOT NULL, reason text NOT NULL,
  value bytea NOT NULL, parked_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (topic, partition, record_offset)
);
"""

# The judge. One call is one statement and one commit; whatever does not fit raises and nothing happened.
COMMIT_BATCH = """
CREATE FUNCTION commit_batch(p_shard int, p_epoch bigint, p_from bigint, p_published bigint, p_offsets jsonb, b jsonb)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  wanted int;
  changed int;
BEGIN
  UPDATE shard_lease
     SET last_seq = last_seq + jsonb_array_length(b->'log'), renew_counter = renew_counter + 1,
         input_offsets = p_offsets, published_seq = greatest(published_seq, p_published)
   WHERE shard = p_shard AND epoch = p_epoch AND last_seq = p_from;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'fenced: shard % is no longer at epoch %, sequence %', p_shard, p_epoch, p_from
      USING ERRCODE = 'PL001';
  END IF;

  INSERT INTO routing_log (shard, seq, epoch, type, at_ms, key, body)
  SELECT p_shard, x.seq, p_epoch, x.type, x.at_ms, x.key, x.body
    FROM jsonb_to_recordset(b->'log') AS x(seq bigint, type text, at_ms bigint, key text, body text);

  INSERT INTO contact (contact_id, shard, queue_id, state, attempt, agent_id, ended_at_ms, doc)
  SELECT x.contact_id, p_shard, x.queue_id, x.state, x.attempt, x.agent_id, x.ended_at_ms, x.doc
    FROM jsonb_to_recordset(b->'new_contacts') AS x(contact_id text, queue_id text, state text, attempt int,
         agent_id text, ended_at_ms bigint, doc text);

  UPDATE contact c SET state = x.state, attempt = x.attempt, agent_id = x.agent_id, ended_at_ms = x.ended_at_ms,
         doc = x.doc
    FROM jsonb_to_recordset(b->'contacts') AS x(contact_id text, state text, attempt int, agent_id text,
         ended_at_ms bigint, doc text)
   WHERE c.contact_id = x.contact_id AND c.shard = p_shard AND c.ended_at_ms IS NULL;
  GET DIAGNOSTICS changed = ROW_COUNT;
  wanted := jsonb_array_length(b->'contacts');
  IF changed <> wanted THEN
    RAISE EXCEPTION 'diverged: % of % contacts are live here', changed, wanted USING ERRCODE = 'PL002';
  END IF;

  IF jsonb_array_length(b->'agents') > 0 THEN
    INSERT INTO agent (shard, agent_id, doc)
    SELECT p_shard, x.agent_id, x.doc FROM jsonb_to_recordset(b->'agents') AS x(agent_id text, doc text)
    ON CONFLICT (shard, agent_id) DO UPDATE SET doc = excluded.doc;
  END IF;
  IF jsonb_array_length(b->'capacities') > 0 THEN
    INSERT INTO agent_unit (agent_id, unit_no)
    SELECT x.agent_id, n FROM jsonb_to_recordset(b->'capacities') AS x(agent_id text, units int),
           generate_series(1, x.units) AS n
    ON CONFLICT DO NOTHING;
    DELETE FROM agent_unit u USING jsonb_to_recordset(b->'capacities') AS x(agent_id text, units int)
     WHERE u.agent_id = x.agent_id AND u.unit_no > x.units
       AND NOT EXISTS (SELECT 1 FROM unit_use v WHERE v.agent_id = u.agent_id AND v.unit_no = u.unit_no);
  END IF;

  IF jsonb_array_length(b->'released') > 0 THEN
    UPDATE assignment a SET released_at_ms = x.at_ms
      FROM jsonb_to_recordset(b->'released') AS x(contact_id text, attempt int, at_ms bigint)
     WHERE a.contact_id = x.contact_id AND a.attempt = x.attempt AND a.released_at_ms IS NULL;
    GET DIAGNOSTICS changed = ROW_COUNT;
    wanted := jsonb_array_length(b->'released');
    IF changed <> wanted THEN
      RAISE EXCEPTION 'diverged: % of % assignments are live', changed, wanted USING ERRCODE = 'PL002';
    END IF;
    DELETE FROM unit_use u USING jsonb_to_recordset(b->'released') AS x(contact_id text, attempt int)
     WHERE u.contact_id = x.contact_id AND u.attempt = x.attempt;
  END IF;

  IF jsonb_array_length(b->'assigned') > 0 THEN
    INSERT INTO assignment (contact_id, attempt, agent_id, epoch, released_at_ms)
    SELECT x.contact_id, x.attempt, x.agent_id, p_epoch, x.released_at_ms
      FROM jsonb_to_recordset(b->'assigned') AS x(contact_id text, attempt int, agent_id text, released_at_ms bigint);
    INSERT INTO unit_use (agent_id, unit_no, contact_id, attempt)
    SELECT x.agent_id, n::int, x.contact_id, x.attempt
      FROM jsonb_to_recordset(b->'assigned') AS x(contact_id text, attempt int, agent_id text, units jsonb),
           jsonb_array_elements(x.units) AS n;
  END IF;
END $$;
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    create_outbox_table(op)
    op.execute(COMMIT_BATCH)
