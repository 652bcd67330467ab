"""The table of contact states: which output may lead from which state to which. The picture in the docs is drawn from it."""

from router.core.model import decisions as o
from router.core.model.contact import ContactState as S

TRANSITIONS: dict[tuple[S | None, type[o.ContactDecision]], tuple[S, ...]] = {
    (None, o.Scheduled): (S.SCHEDULED,),
    (None, o.Queued): (S.QUEUED,),
    (S.SCHEDULED, o.Queued): (S.QUEUED,),
    (S.SCHEDULED, o.CallbackArranged): (S.SCHEDULED,),
    (S.SCHEDULED, o.Cancelled): (S.CANCELLED,),
    (S.SCHEDULED, o.Abandoned): (S.ABANDONED,),
    (S.QUEUED, o.CallbackArranged): (S.QUEUED, S.SCHEDULED),
    (S.QUEUED, o.Moved): (S.QUEUED,),
    (S.QUEUED, o.Offered): (S.OFFERED,),
    (S.QUEUED, o.Abandoned): (S.ABANDONED,),
    (S.QUEUED, o.Cancelled): (S.CANCELLED,),
    (S.QUEUED, o.Expired): (S.EXPIRED,),
    (S.QUEUED, o.Overflowed): (S.OVERFLOWED,),
    (S.OFFERED, o.Offered): (S.OFFERED,),
    (S.OFFERED, o.Accepted): (S.ASSIGNED,),
    (S.OFFERED, o.Declined): (S.QUEUED, S.OFFERED),
    (S.OFFERED, o.TimedOut): (S.QUEUED, S.OFFERED),
    (S.OFFERED, o.Rescinded): (S.QUEUED, S.OFFERED),
    (S.ASSIGNED, o.Responded): (S.ASSIGNED,),
    (S.ASSIGNED, o.Requeued): (S.QUEUED,),
    (S.ASSIGNED, o.LinkWasLost): (S.LINK_LOST,),
    (S.ASSIGNED, o.Paused): (S.PAUSED,),
    (S.ASSIGNED, o.Transferred): (S.QUEUED,),
    (S.ASSIGNED, o.WrapUpBegan): (S.WRAP_UP,),
    (S.ASSIGNED, o.Completed): (S.COMPLETED,),
    (S.PAUSED, o.Resumed): (S.ASSIGNED,),
    (S.PAUSED, o.LinkWasLost): (S.LINK_LOST,),
    (S.PAUSED, o.Transferred): (S.QUEUED,),
    (S.PAUSED, o.Completed): (S.COMPLETED,),
    (S.LINK_LOST, o.LinkWasRestored): (S.ASSIGNED, S.PAUSED),
    (S.LINK_LOST, o.Requeued): (S.QUEUED,),
    (S.LINK_LOST, o.Completed): (S.COMPLETED,),
    (S.WRAP_UP, o.Completed): (S.COMPLETED,),
}


def picture() -> str:
    """The table as a mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for (before, output), afterwards in TRANSITIONS.items():
        for after in afterwards:
            lines.append(f"  {'[*]' if before is None else before.value} --> {after.value}: {output.__name__}")
    return "\n".join(lines)
