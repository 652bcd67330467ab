"""The table of contact states: which output may follow which state. The picture in the docs is drawn from it."""

from router.core.outputs import (
    Abandoned,
    Accepted,
    Cancelled,
    Completed,
    ContactDecision,
    Declined,
    LinkWasLost,
    LinkWasRestored,
    Offered,
    Queued,
    Requeued,
    Rescinded,
    TimedOut,
    WrapUpBegan,
)
from router.core.values import ContactState as S

TRANSITIONS: dict[tuple[S | None, type[ContactDecision]], S] = {
    (None, Queued): S.QUEUED,
    (S.QUEUED, Offered): S.OFFERED,
    (S.QUEUED, Abandoned): S.ABANDONED,
    (S.QUEUED, Cancelled): S.CANCELLED,
    (S.OFFERED, Accepted): S.ASSIGNED,
    (S.OFFERED, Declined): S.QUEUED,
    (S.OFFERED, TimedOut): S.QUEUED,
    (S.OFFERED, Rescinded): S.QUEUED,
    (S.ASSIGNED, LinkWasLost): S.LINK_LOST,
    (S.LINK_LOST, LinkWasRestored): S.ASSIGNED,
    (S.LINK_LOST, Requeued): S.QUEUED,
    (S.LINK_LOST, Completed): S.COMPLETED,
    (S.ASSIGNED, WrapUpBegan): S.WRAP_UP,
    (S.ASSIGNED, Completed): S.COMPLETED,
    (S.WRAP_UP, Completed): S.COMPLETED,
}


def picture() -> str:
    """The table as a mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for (before, output), after in TRANSITIONS.items():
        lines.append(f"  {'[*]' if before is None else before.value} --> {after.value}: {output.__name__}")
    return "\n".join(lines)
