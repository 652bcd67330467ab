"""A command keeps where it was to go, so that its id cannot be used for a transfer to somewhere else."""

from alembic import op

revision = "0004"
down_revision = "0003"
works_with = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE command ADD COLUMN target text")  # none: kept by a release that did not write it down
