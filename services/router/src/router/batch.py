"""From the core's decisions and what they touched to the one batch that is committed."""

import msgspec

from common.contracts.codec import type_of
from router.core import outputs
from router.core.outputs import RELEASES, Output
from router.core.state import State
from router.core.values import ENDED, Contact
from router.ports import Assigned, Batch, ContactRow, LogLine, Reign
from router.translate import body_of, fact_from, key_of

Decided = list[tuple[Output, int]]
"""Decisions, each with the time at which it was made."""


def make_batch(state: State, reign: Reign, decided: Decided, units_known: dict[str, int]) -> Batch:
    """The batch for `decided`; the core's notes of what it touched are used up.

    `units_known`: the capacity rows that each agent has already; brought up to date here.
    """
    log = []
    for number, (output, at_ms) in enumerate(decided, start=reign.last_seq + 1):
        fact = fact_from(output, at_ms=at_ms)
        log.append(
            LogLine(
                seq=number,
                epoch=reign.epoch,
                type=type_of(fact),
                at_ms=at_ms,
                key=key_of(output),
                body=body_of(fact),
            )
        )
    fresh = {output.contact_id for output, _ in decided if isinstance(output, outputs.Queued)}
    ended = {output.contact_id: at_ms for output, at_ms in decided if isinstance(output, ENDS)}
    rows = [_row(contact, ended.get(contact.contact_id)) for contact in state.touched_contacts.values()]
    agents = list(state.touched_agents.values())
    released, assigned = _assignments(decided)
    batch = Batch(
        log=log,
        new_contacts=[row for row in rows if row.contact_id in fresh],
        contacts=[row for row in rows if row.contact_id not in fresh],
        agents=[(agent.agent_id, msgspec.json.encode(agent).decode()) for agent in agents],
        capacities=[(a.agent_id, a.units) for a in agents if units_known.get(a.agent_id) != a.units],
        released=released,
        assigned=assigned,
    )
    units_known.update((agent.agent_id, agent.units) for agent in agents)
    state.touched_contacts.clear()
    state.touched_agents.clear()
    return batch


ENDS = (outputs.Completed, outputs.Abandoned, outputs.Cancelled)


def _row(contact: Contact, ended_at_ms: int | None) -> ContactRow:
    assert (ended_at_ms is not None) == (contact.state in ENDED), contact
    return ContactRow(
        contact_id=contact.contact_id,
        queue_id=contact.queue_id,
        state=contact.state,
        attempt=contact.attempt,
        agent_id=contact.agent_id,
        ended_at_ms=ended_at_ms,
        doc=msgspec.json.encode(contact).decode(),
    )


def _assignments(decided: Decided) -> tuple[list[tuple[str, int, int]], list[Assigned]]:
    made: dict[tuple[str, int], Assigned] = {}
    released: list[tuple[str, int, int]] = []
    for output, at_ms in decided:
        if isinstance(output, outputs.Offered):
            made[output.contact_id, output.attempt] = Assigned(
                contact_id=output.contact_id,
                attempt=output.attempt,
                agent_id=output.agent_id,
                units=output.unit_numbers,
                released_at_ms=None,
            )
        elif isinstance(output, RELEASES):
            offer = made.get((output.contact_id, output.attempt))
            if offer is None:
                released.append((output.contact_id, output.attempt, at_ms))
                continue
            made[output.contact_id, output.attempt] = Assigned(
                contact_id=offer.contact_id,
                attempt=offer.attempt,
                agent_id=offer.agent_id,
                units=(),
                released_at_ms=at_ms,
            )
    return released, list(made.values())
