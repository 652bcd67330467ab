"""Which session each agent has, as the router knows it: personal data is for the present one only."""

from alembic import op

revision = "0006"
down_revision = "0005"
works_with = "0002"


def upgrade() -> None:
    op.execute(
        "CREATE TABLE agent_session (agent_id text PRIMARY KEY, session_no int NOT NULL, is_over boolean NOT NULL)"
        " WITH (fillfactor = 70)"
    )
