"""What a contact says about its routing besides queue and skills: needs, whom it knows, when it is due."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE contact ADD COLUMN routing jsonb NOT NULL DEFAULT '{}'")
    op.execute(
        "CREATE INDEX contact_of_customer ON contact (client_id, (routing->>'customer'), state_at_ms)"
        " WHERE routing ? 'customer'"
    )
