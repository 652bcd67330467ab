"""Who changed what: a row inside the transaction that makes the change. No personal data of customers."""

import sqlalchemy as sa

DETAIL_CHARS_MAX = 4_000
"""More of a change's values is cut off."""
table = sa.Table("audit", sa.MetaData(), *(sa.Column(name) for name in ("actor", "action", "subject", "detail")))


def audited(actor: str, action: str, subject: str, detail: str = "") -> sa.Insert:
    """The statement that notes a change: `action` as `thing.verb`, `subject` the thing's id, `detail` its new values."""
    return sa.insert(table).values(actor=actor, action=action, subject=subject, detail=detail[:DETAIL_CHARS_MAX])
