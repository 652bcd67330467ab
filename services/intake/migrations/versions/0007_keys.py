"""API keys have scopes, expire, are replaced with a grace, and show when they were used; live contacts are counted by client."""

from alembic import op

revision = "0007"
down_revision = "0006"
works_with = "0002"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE api_key
          ADD COLUMN scopes text[] NOT NULL DEFAULT '{post,read,priority}', ADD COLUMN expires_at timestamptz,
          ADD COLUMN last_used_at timestamptz, ADD COLUMN rotated_at timestamptz,
          ADD COLUMN previous_hash bytea, ADD COLUMN previous_until timestamptz"""
    )
    op.execute(
        "CREATE INDEX contact_live ON contact (client_id) WHERE state IN ('accepted', 'scheduled', 'queued', 'offered')"
    )
