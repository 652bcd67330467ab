"""What the router must know of people at home, and several agents with an offer of the same contact."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
ALTER TABLE agent ADD COLUMN traits jsonb NOT NULL DEFAULT '{}';
ALTER TABLE agent ADD COLUMN limits jsonb NOT NULL DEFAULT '{}';
ALTER TABLE session ADD COLUMN link_score int NOT NULL DEFAULT 100;
ALTER TABLE inbox_item DROP CONSTRAINT inbox_item_pkey;
ALTER TABLE inbox_item ADD PRIMARY KEY (contact_id, agent_id)
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)
