"""The queue that a contact is in now, beside the one that its POST was answered with; the older release leaves it out."""

from alembic import op

revision = "0008"
down_revision = "0007"
works_with = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE contact ADD COLUMN present_queue text")
