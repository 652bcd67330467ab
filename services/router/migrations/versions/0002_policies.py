"""Whole routing policies; several offers of a contact at a time; contacts that keep their agent without its capacity."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
ALTER TABLE queue ADD COLUMN policy jsonb NOT NULL DEFAULT '{}';
ALTER TABLE assignment ADD COLUMN accepted boolean NOT NULL DEFAULT false;
DROP INDEX one_live_assignment;
CREATE UNIQUE INDEX one_live_assignment ON assignment (contact_id) WHERE released_at_ms IS NULL AND accepted;
ALTER TABLE router_instance ADD COLUMN url text NOT NULL DEFAULT '';
CREATE INDEX routing_log_key ON routing_log (key);
CREATE TABLE skill (skill text PRIMARY KEY);
CREATE TABLE progress (follower text PRIMARY KEY, read_at timestamptz NOT NULL);
CREATE TABLE position (
  topic text NOT NULL, partition int NOT NULL, next_offset bigint NOT NULL, last_seq bigint NOT NULL,
  PRIMARY KEY (topic, partition)
)
"""

LIVE = """
DO $$ BEGIN
  IF EXISTS (SELECT 1 FROM contact WHERE ended_at_ms IS NULL) THEN
    RAISE EXCEPTION 'contacts are live, and this release keeps them in another form: let them end, then migrate';
  END IF;
END $$
"""

COMMIT_BATCH = """
CREATE OR REPLACE FUNCTION commit_batch(p_shard int, p_epoch bigint, p_from bigint, p_published bigint, p_offsets jsonb, b jsonb)
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

  IF jsonb_array_length(b->'accepted') > 0 THEN
    UPDATE assignment a SET accepted = true
      FROM jsonb_to_recordset(b->'accepted') AS x(contact_id text, attempt int)
     WHERE a.contact_id = x.contact_id AND a.attempt = x.attempt AND a.released_at_ms IS NULL AND NOT a.accepted;
    GET DIAGNOSTICS changed = ROW_COUNT;
    wanted := jsonb_array_length(b->'accepted');
    IF changed <> wanted THEN
      RAISE EXCEPTION 'diverged: % of % offers are open', changed, wanted USING ERRCODE = 'PL002';
    END IF;
  END IF;
  IF jsonb_array_length(b->'units') > 0 THEN
    DELETE FROM unit_use u USING jsonb_to_recordset(b->'units') AS x(contact_id text, attempt int)
     WHERE u.contact_id = x.contact_id AND u.attempt = x.attempt;
  END IF;
  IF jsonb_array_length(b->'assigned') > 0 THEN
    INSERT INTO assignment (contact_id, attempt, agent_id, epoch, accepted, released_at_ms)
    SELECT x.contact_id, x.attempt, x.agent_id, p_epoch, x.accepted, x.released_at_ms
      FROM jsonb_to_recordset(b->'assigned')
        AS x(contact_id text, attempt int, agent_id text, accepted boolean, released_at_ms bigint);
  END IF;
  INSERT INTO unit_use (agent_id, unit_no, contact_id, attempt)
  SELECT x.agent_id, n::int, x.contact_id, x.attempt
    FROM jsonb_to_recordset((b->'assigned') || (b->'units')) AS x(contact_id text, attempt int, agent_id text, units jsonb),
         jsonb_array_elements(x.units) AS n;
END $$;
"""


def upgrade() -> None:
    op.execute(LIVE)
    for statement in TABLES.split(";\n"):
        op.execute(statement)
    op.execute(COMMIT_BATCH)
