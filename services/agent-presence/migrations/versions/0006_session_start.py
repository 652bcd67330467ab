"""Since when an agent is signed in. A trigger writes it, so that sign-ins through an older replica have it, too."""

from alembic import op

revision = "0006"
down_revision = "0005"
works_with = "0002"

FUNCTION = """
CREATE FUNCTION note_session_start() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  new.started_at := now();
  RETURN new;
END $$
"""
TRIGGER = """
CREATE TRIGGER session_started BEFORE INSERT OR UPDATE OF session_no ON session FOR EACH ROW
EXECUTE FUNCTION note_session_start()
"""


def upgrade() -> None:
    op.execute("ALTER TABLE session ADD COLUMN started_at timestamptz")  # none: signed in before this was kept
    op.execute(FUNCTION)
    op.execute(TRIGGER)
