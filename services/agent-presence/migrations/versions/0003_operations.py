"""Who changed what."""

from alembic import op

from common.runtime.migrations import create_audit_table

revision = "0003"
down_revision = "0002"
works_with = "0002"


def upgrade() -> None:
    create_audit_table(op)
