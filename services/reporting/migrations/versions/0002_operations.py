"""Who changed what."""

from alembic import op

from common.runtime.migrations import create_audit_table

revision = "0002"
down_revision = "0001"
works_with = "0001"


def upgrade() -> None:
    create_audit_table(op)
