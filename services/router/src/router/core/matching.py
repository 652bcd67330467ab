"""Who gets whom: the first contact in order, the longest-idle able agent. Every ordering ends in an id.

Nobody waited beside an able idle agent before this step, so only what the step touched can match now: the contacts
that came to wait, and the agents that came to be free. A contact that nobody can serve delays no other.
"""

from router.core.state import State, first_idle, head
from router.core.values import Agent, Contact, ContactState


def next_match(state: State) -> tuple[Contact, Agent] | None:
    """The next contact to be offered and the agent to offer it to; None when nothing more can match."""
    candidates: dict[str, Contact] = {}
    for agent_id in sorted(state.dirty_agents):
        contact = _first_contact_for(state, agent_id)
        if contact is None:
            del state.dirty_agents[agent_id]
        else:
            candidates[contact.contact_id] = contact
    for contact_id in sorted(state.dirty_contacts):
        contact = state.contacts.get(contact_id)
        if contact is None or contact.state is not ContactState.QUEUED:
            del state.dirty_contacts[contact_id]
        else:
            candidates[contact_id] = contact
    for contact in sorted(candidates.values(), key=lambda c: c.order):
        agent = _longest_idle_for(state, contact)
        if agent is not None:
            return contact, agent
        state.dirty_contacts.pop(contact.contact_id, None)
    return None


def _first_contact_for(state: State, agent_id: str) -> Contact | None:
    slot = state.slots.get(agent_id)
    if slot is None:
        return None
    profile, free, _ = slot
    best: Contact | None = None
    for group in profile.groups:
        if group.waiting == 0 or group.key[2] > free:
            continue
        found = head(state, group, not_declined_by=agent_id)
        if found is not None and (best is None or found.order < best.order):
            best = found
    return best


def _longest_idle_for(state: State, contact: Contact) -> Agent | None:
    group = state.groups[contact.pool, contact.requirements, contact.units]
    best: tuple[int, str] | None = None
    for profile in group.profiles:
        for free in profile.heaps:
            if free < contact.units:
                continue
            found = first_idle(state, profile, free, contact)
            if found is not None and (best is None or found < best):
                best = found
    return None if best is None else state.agents[best[1]]
