"""Who changed what; instances that are asked to give their shards back."""

from alembic import op

from common.runtime.migrations import create_audit_table

revision = "0004"
down_revision = "0003"
works_with = "0003"


def upgrade() -> None:
    create_audit_table(op)
    op.execute("ALTER TABLE router_instance ADD COLUMN draining boolean NOT NULL DEFAULT false")
