"""The router's role changes live rows, the log and the epoch through two functions, and not otherwise."""

from alembic import op

revision = "0003"
down_revision = "0002"

# A new reign: the epoch goes up by one, and only for the session that holds the shard's advisory lock.
TAKE_SHARD = """
CREATE FUNCTION take_shard(p_shard int, p_owner text)
RETURNS TABLE (epoch bigint, last_seq bigint, published_seq bigint, input_offsets text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF NOT EXISTS (
    SELECT 1 FROM pg_locks k WHERE k.locktype = 'advisory' AND k.classid = 7318002 AND k.objid = p_shard::oid
       AND k.granted AND k.pid = pg_backend_pid())
  THEN
    RAISE EXCEPTION 'this session does not hold the lock of shard %', p_shard USING ERRCODE = 'PL003';
  END IF;
  RETURN QUERY
    UPDATE shard_lease l
       SET epoch = l.epoch + 1, owner = p_owner, backend_pid = pg_backend_pid(), renew_counter = l.renew_counter + 1
     WHERE l.shard = p_shard
    RETURNING l.epoch, l.last_seq, l.published_seq, l.input_offsets::text;
END $$;
"""


def upgrade() -> None:
    op.execute(TAKE_SHARD)
    op.execute(
        "ALTER FUNCTION commit_batch(int, bigint, bigint, bigint, jsonb, jsonb)"
        " SECURITY DEFINER SET search_path = public, pg_temp"
    )
