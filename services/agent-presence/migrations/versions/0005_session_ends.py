"""A session that ends is told to every replica at once: they remember for a while which sessions are alive."""

from alembic import op

revision = "0005"
down_revision = "0004"
works_with = "0002"

FUNCTION = """
CREATE FUNCTION tell_session_over() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('session_over', new.agent_id || ' ' || CASE WHEN new.ended_at IS NULL THEN old.session_no
                                                              ELSE new.session_no END);
  RETURN NULL;
END $$
"""
TRIGGER = """
CREATE TRIGGER session_over AFTER UPDATE OF session_no, ended_at ON session FOR EACH ROW
WHEN (new.session_no > old.session_no OR new.ended_at IS NOT NULL AND old.ended_at IS NULL)
EXECUTE FUNCTION tell_session_over()
"""


def upgrade() -> None:
    op.execute(FUNCTION)
    op.execute(TRIGGER)
