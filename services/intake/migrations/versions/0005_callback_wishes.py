"""A contact keeps the customer's last wish to be called back, so that it is repeated until the router granted it."""

from alembic import op

revision = "0005"
down_revision = "0004"
works_with = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE contact ADD COLUMN callback_asked_ms bigint")
    op.execute("ALTER TABLE contact ADD COLUMN callback_not_before_ms bigint")
    op.execute("ALTER TABLE contact ADD COLUMN callback_granted_ms bigint NOT NULL DEFAULT 0")
    op.execute(
        "CREATE INDEX contact_wishing ON contact (callback_asked_ms)"
        " WHERE callback_asked_ms > callback_granted_ms AND state IN ('accepted', 'scheduled', 'queued', 'offered')"
    )
