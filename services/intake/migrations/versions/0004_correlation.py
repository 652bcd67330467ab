"""A contact keeps the correlation id of its post, so that a submission that is repeated carries it, too."""

from alembic import op

revision = "0004"
down_revision = "0003"
works_with = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE contact ADD COLUMN correlation_id text NOT NULL DEFAULT ''")
