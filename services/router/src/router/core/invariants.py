"""What must hold after every step, in production too."""

from router.core.state import State
from router.core.values import ENDED, Agent, Contact, ContactState


def check_touched(state: State) -> None:
    """Check what changed. Raises `AssertionError`."""
    for contact in state.touched_contacts.values():
        _check_contact(state, contact)
    for agent in state.touched_agents.values():
        _check_agent(state, agent)


def check(state: State) -> None:
    """Check everything; for tests and after a rebuild. Raises `AssertionError`."""
    for contact in state.contacts.values():
        _check_contact(state, contact)
    for agent in state.agents.values():
        _check_agent(state, agent)
    for group in state.groups.values():
        waiting = sum(
            1
            for c in state.contacts.values()
            if c.state is ContactState.QUEUED and (c.pool, c.requirements, c.units) == group.key
        )
        assert group.waiting == waiting, f"{group.key} counts {group.waiting}, {waiting} wait"


def _check_contact(state: State, contact: Contact) -> None:
    if contact.state in ENDED:
        assert contact.contact_id not in state.contacts, f"{contact.contact_id} ended and is still live"
        return
    assert state.contacts.get(contact.contact_id) is contact, f"{contact.contact_id} is not live"
    waits = contact.state is ContactState.QUEUED
    assert waits == (not contact.agent_id), f"{contact.contact_id} is {contact.state} with {contact.agent_id}"
    assert waits == (not contact.unit_numbers), f"{contact.contact_id} is {contact.state} with units"
    if not waits:
        agent = state.agents[contact.agent_id]
        for number in contact.unit_numbers:
            assert agent.used.get(number) == contact.contact_id, f"unit {number} is not {contact.contact_id}'s"
        assert len(contact.unit_numbers) == contact.units, f"{contact.contact_id} has too few units"
    runs = contact.state in (ContactState.OFFERED, ContactState.LINK_LOST, ContactState.WRAP_UP)
    assert runs == (contact.due_ms is not None), f"{contact.contact_id} is {contact.state}, due {contact.due_ms}"


def _check_agent(state: State, agent: Agent) -> None:
    for number, contact_id in agent.used.items():
        contact = state.contacts.get(contact_id)
        assert contact is not None, f"{agent.agent_id} holds {contact_id}, which is over"
        assert contact.agent_id == agent.agent_id, f"{contact_id} is not {agent.agent_id}'s"
        assert number in contact.unit_numbers, f"{contact_id} does not know unit {number}"
    offered = agent.agent_id in state.slots
    may = agent.routing_state == "ready" and agent.free_units > 0
    assert offered == may, f"{agent.agent_id} is {agent.routing_state} with {agent.free_units} free units"
