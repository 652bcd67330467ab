"""From facts to the read models: load what a batch of facts is about, fold in memory, write it back in bulk."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from common.contracts import agents, codec, config, contacts, routing
from common.runtime.bus import Incoming
from reporting.domain import Folded, Segment, begin, fold
from reporting.ports import ReadModels, Step


@dataclass(slots=True)
class _Work:
    """What a batch changes."""

    folded: dict[str, Folded] = field(default_factory=dict)
    closed: list[Segment] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


async def apply(tables: ReadModels, records: Sequence[Incoming]) -> None:
    """The effect of the facts, inside the caller's transaction."""
    work = _Work()
    about = {r.fact.contact_id for r in records if isinstance(r.fact, routing.RoutingFactBase)}
    if about:
        work.folded = await tables.load(sorted(about))
    for record in records:
        match record.fact:
            case routing.RoutingFactBase():
                _take(work, record)
            case agents.AgentPicture() as fact:
                await tables.put_stay(fact)
            case contacts.ContactSubmitted() as fact:
                await tables.put_submission(fact)
            case config.QueueDefined() as fact:
                await tables.put_queue(fact)
    touched = {step[2] for step in work.steps}
    folded = [one for contact_id, one in sorted(work.folded.items()) if contact_id in touched]
    await tables.write(folded=folded, closed=work.closed, steps=work.steps)


def _take(work: _Work, record: Incoming) -> None:
    fact = record.fact
    assert isinstance(fact, routing.RoutingFactBase) and record.envelope is not None
    work.steps.append(
        (
            record.partition,
            record.envelope.sequence,
            fact.contact_id,
            fact.at_ms,
            codec.type_of(fact),
            getattr(fact, "attempt", None),
            getattr(fact, "agent_id", None),
            getattr(fact, "reason", None),
        )
    )
    before = work.folded.get(fact.contact_id)
    if isinstance(fact, (routing.ContactQueued, routing.ContactScheduled)) and before is None:
        after = begin(fact)
    elif before is None:
        return  # its beginning is older than what Kafka kept when we first started
    else:
        after = fold(before, fact)
    work.folded[fact.contact_id] = after
    if after.closed is not None:
        work.closed.append(after.closed)
