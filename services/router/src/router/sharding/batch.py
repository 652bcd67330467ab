"""From the core's decisions and what they touched to the one batch that is committed."""

from dataclasses import dataclass

import msgspec

from common.contracts.codec import type_of
from router.core.index.state import State
from router.core.model import decisions
from router.core.model.contact import ENDED, Contact
from router.core.model.decisions import RELEASES, Output
from router.sharding.ports import Assigned, Batch, Capacity, ContactRow, LogLine, Reign
from router.translate import body_of, fact_from, key_of

Decided = list[tuple[Output, int]]
"""Decisions, each with the time at which it was made."""


def make_batch(state: State, reign: Reign, decided: Decided, units_known: dict[str, int]) -> Batch:
    """The batch for `decided`; the core's notes of what it touched are used up.

    `units_known`: the capacity that is committed of each agent; brought up to date here.
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
                correlation=_correlation(state, output),
            )
        )
    fresh = state.fresh
    ended = {output.contact_id: at_ms for output, at_ms in decided if isinstance(output, ENDS)}
    rows = [_row(contact, ended.get(contact.contact_id)) for contact in state.touched_contacts.values()]
    agents = list(state.touched_agents.values())
    changes = _assignments(decided)
    capacities = {agent.agent_id: agent.units for agent in agents}
    batch = Batch(
        log=log,
        new_contacts=[row for row in rows if row.contact_id in fresh],
        contacts=[row for row in rows if row.contact_id not in fresh],
        agents=[(agent.agent_id, msgspec.json.encode(agent).decode()) for agent in agents],
        capacities=[
            Capacity(agent_id=name, units=units, most=max(units, state.lowered.get(name, 0)))
            for name, units in capacities.items()
            if units_known.get(name) != units or name in state.lowered
        ],
        released=[
            (one.contact_id, one.attempt, one.released_at_ms)
            for one in changes
            if not one.made and one.released_at_ms is not None
        ],
        accepted=[
            (one.contact_id, one.attempt)
            for one in changes
            if not one.made and one.accepted and one.released_at_ms is None
        ],
        units=[one.row() for one in changes if not one.made and one.released_at_ms is None and one.units is not None],
        assigned=[one.row() for one in changes if one.made],
    )
    units_known.update(capacities)
    state.fresh.clear()
    state.touched_contacts.clear()
    state.touched_agents.clear()
    state.lowered.clear()
    return batch


def _correlation(state: State, output: Output) -> str:
    """The id under which the contact was posted; nothing where a decision is about no contact."""
    contact = state.touched_contacts.get(getattr(output, "contact_id", ""))
    return "" if contact is None else contact.correlation


ENDS = (decisions.Completed, decisions.Abandoned, decisions.Cancelled, decisions.Expired, decisions.Overflowed)


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


@dataclass(slots=True, kw_only=True)
class _Change:
    """What a batch does to one attempt. `units`: what it takes afterwards; None when that stays as it is."""

    contact_id: str
    attempt: int
    agent_id: str
    made: bool = False
    accepted: bool = False
    released_at_ms: int | None = None
    units: tuple[int, ...] | None = None
    capacity: int = 0
    over: str = ""

    def row(self) -> Assigned:
        return Assigned(
            contact_id=self.contact_id,
            attempt=self.attempt,
            agent_id=self.agent_id,
            accepted=self.accepted,
            units=self.units or (),
            released_at_ms=self.released_at_ms,
            capacity=self.capacity,
            over=self.over,
        )


def _assignments(decided: Decided) -> list[_Change]:
    changes: dict[tuple[str, int], _Change] = {}
    for output, at_ms in decided:
        if not isinstance(output, ASSIGNS):
            continue
        key = (output.contact_id, output.attempt)
        change = changes.get(key)
        if change is None:
            change = changes[key] = _Change(
                contact_id=output.contact_id, attempt=output.attempt, agent_id=output.agent_id
            )
        match output:
            case decisions.Offered():
                change.made, change.units = True, output.unit_numbers
                change.capacity, change.over = output.capacity, output.over
            case decisions.Accepted():
                change.accepted = True
            case decisions.Paused():
                change.units = ()
            case decisions.Resumed():
                change.units, change.capacity, change.over = output.unit_numbers, output.capacity, output.over
            case _:
                change.released_at_ms, change.units = at_ms, ()
    return list(changes.values())


ASSIGNS = (decisions.Offered, decisions.Accepted, decisions.Paused, decisions.Resumed, *RELEASES)
