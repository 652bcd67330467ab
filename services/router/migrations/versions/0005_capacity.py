"""An agent's declared capacity, and nothing else, makes room; a contact that moves on is counted in its new queue.

`agent_unit` are the units that an agent has by what agent-presence says, for each shard that knows the agent. A unit that a
contact takes must be one of them, unless its row says why it is over: its queue may `exceed`, it may `interrupt`, or the
capacity was `cut` while it was held. A unit is taken once, whichever shard its contact belongs to.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
works_with = "0003"

TABLES = """
ALTER TABLE unit_use DROP CONSTRAINT unit_use_agent_id_unit_no_fkey;
DROP TABLE agent_unit;
CREATE TABLE agent_unit (
  shard int NOT NULL, agent_id text NOT NULL, unit_no int NOT NULL, PRIMARY KEY (shard, agent_id, unit_no)
);
INSERT INTO agent_unit (shard, agent_id, unit_no)
SELECT shard, agent_id, n FROM agent, generate_series(1, (doc::jsonb->>'units')::int) AS n;
ALTER TABLE unit_use ADD COLUMN shard int;
ALTER TABLE unit_use ADD COLUMN over text NOT NULL DEFAULT '' CHECK (over IN ('', 'exceed', 'interrupt', 'cut'));
UPDATE unit_use u SET shard = c.shard FROM contact c WHERE c.contact_id = u.contact_id;
UPDATE unit_use u SET over = 'cut' WHERE NOT EXISTS (
  SELECT 1 FROM agent_unit a WHERE a.shard = u.shard AND a.agent_id = u.agent_id AND a.unit_no = u.unit_no);
ALTER TABLE unit_use ALTER COLUMN shard SET NOT NULL;
ALTER TABLE unit_use ADD COLUMN within int GENERATED ALWAYS AS (CASE WHEN over = '' THEN shard END) STORED;
ALTER TABLE unit_use ADD CONSTRAINT unit_is_declared FOREIGN KEY (within, agent_id, unit_no) REFERENCES agent_unit;
UPDATE contact SET queue_id = doc::jsonb->>'queue_id'
 WHERE ended_at_ms IS NULL AND queue_id <> doc::jsonb->>'queue_id'
"""

COMMIT_BATCH = """
CREATE OR REPLACE FUNCTION commit_batch(p_shard int, p_epoch bigint, p_from bigint, p_published bigint, p_offsets jsonb, b jsonb)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
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

  UPDATE contact c SET queue_id = x.queue_id, state = x.state, attempt = x.attempt, agent_id = x.agent_id,
         ended_at_ms = x.ended_at_ms, doc = x.doc
    FROM jsonb_to_recordset(b->'contacts') AS x(contact_id text, queue_id text, state text, attempt int,
         agent_id text, ended_at_ms bigint, doc text)
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
    INSERT INTO agent_unit (shard, agent_id, unit_no)
    SELECT p_shard, x.agent_id, n
      FROM jsonb_to_recordset(b->'capacities') AS x(agent_id text, units int, most int),
           generate_series(1, greatest(x.units, x.most)) AS n
    ON CONFLICT DO NOTHING;
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
  INSERT INTO unit_use (shard, agent_id, unit_no, contact_id, attempt, over)
  SELECT p_shard, x.agent_id, n::int, x.contact_id, x.attempt,
         CASE WHEN n::int > x.capacity THEN coalesce(x.over, '') ELSE '' END
    FROM jsonb_to_recordset((b->'assigned') || (b->'units'))
      AS x(contact_id text, attempt int, agent_id text, units jsonb, capacity int, over text),
         jsonb_array_elements(x.units) AS n;

  IF jsonb_array_length(b->'capacities') > 0 THEN
    UPDATE unit_use u SET over = 'cut'
      FROM jsonb_to_recordset(b->'capacities') AS x(agent_id text, units int)
     WHERE u.shard = p_shard AND u.agent_id = x.agent_id AND u.unit_no > x.units AND u.over = '';
    DELETE FROM agent_unit a USING jsonb_to_recordset(b->'capacities') AS x(agent_id text, units int)
     WHERE a.shard = p_shard AND a.agent_id = x.agent_id AND a.unit_no > x.units;
  END IF;
END $$;
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)
    op.execute(COMMIT_BATCH)
