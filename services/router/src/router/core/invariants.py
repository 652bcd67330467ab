"""What must hold after every step, in production too."""

from collections.abc import Iterator

from router.core.index.state import State
from router.core.model.agent import Agent
from router.core.model.contact import ENDED, Contact, ContactState

RUNS = frozenset({ContactState.SCHEDULED, ContactState.LINK_LOST, ContactState.WRAP_UP})
"""States that run out by themselves."""
SLICE = 500
"""Values that are checked between two turns of `checking`: a few milliseconds of work."""


def check_touched(state: State) -> None:
    """Check what changed. Raises `AssertionError`."""
    for contact in state.touched_contacts.values():
        _check_contact(state, contact)
    for agent in state.touched_agents.values():
        _check_agent(state, agent)


def check(state: State) -> None:
    """Check everything; for tests. Raises `AssertionError`."""
    for _ in checking(state):
        pass


def checking(state: State) -> Iterator[None]:
    """The same slice by slice, for after a rebuild; nothing may change in between."""
    done = 0
    for contact in state.contacts.values():
        _check_contact(state, contact)
        done += 1
        if done % SLICE == 0:
            yield
    for agent in state.agents.values():
        _check_agent(state, agent)
        done += 1
        if done % SLICE == 0:
            yield
    waiting = sum(one.state is ContactState.QUEUED for one in state.contacts.values())
    assert len(state.place_of) == waiting, "what waits is not what is found waiting"
    yield
    waiting_in: dict[int, int] = {}
    for group, _ in state.place_of.values():
        assert state.group_at.get(group.no) is group, f"{group.key} is gone and contacts wait in it"
        waiting_in[group.no] = waiting_in.get(group.no, 0) + 1
    yield
    for group in state.groups.values():
        inside = waiting_in.get(group.no, 0)
        assert group.waiting == inside, f"{group.key} counts {group.waiting}, {inside} wait"
        assert state.waiting >> group.no & 1 == (inside > 0), f"{group.key} is not marked"
        assert sum(group.levels.values()) == inside, f"{group.key} counts {group.levels} by level, {inside} wait"
        done += 1
        if done % SLICE == 0:
            yield
    staffed: dict[int, int] = {}
    for one in state.agents.values():
        if one.presence != "offline":
            number = state.profile_of[one.agent_id].no
            staffed[number] = staffed.get(number, 0) + 1
            counted = state.counted.get(one.agent_id)
            assert counted is not None and counted[0].no == number, f"{one.agent_id} is counted elsewhere"
            assert counted[1][1:3] == (one.routing_state == "ready", one.units), f"{one.agent_id} is counted wrongly"
    for profile in state.profiles.values():
        assert profile.staffed == staffed.get(profile.no, 0), f"{profile.traits} counts {profile.staffed}"
        assert state.staffed >> profile.no & 1 == (profile.staffed > 0), f"{profile.traits} is not marked"


def _check_contact(state: State, contact: Contact) -> None:
    if contact.state in ENDED:
        assert contact.contact_id not in state.contacts, f"{contact.contact_id} ended and is still live"
        return
    assert state.contacts.get(contact.contact_id) is contact, f"{contact.contact_id} is not live"
    waits = contact.state is ContactState.QUEUED
    assert waits == (contact.contact_id in state.place_of), f"{contact.contact_id} is {contact.state} and not in place"
    if waits:
        asked = state.demands[state.place_of[contact.contact_id][0].demand].units
        assert contact.units == asked, f"{contact.contact_id} waits for {contact.units} units, its queue asks {asked}"
    assert (contact.state is ContactState.OFFERED) == bool(contact.offers), f"{contact.contact_id} is {contact.state}"
    held = contact.holding is not None
    free = waits or contact.state in (ContactState.OFFERED, ContactState.SCHEDULED)
    assert held != free, f"{contact.contact_id} is {contact.state}, held: {held}"
    for offer in contact.offers if contact.holding is None else [contact.holding]:
        taken = state.agents[offer.agent_id].work.get(contact.contact_id)
        assert (taken[1] if taken else ()) == offer.unit_numbers, f"{offer.agent_id} does not know {contact.contact_id}"
        if contact.state is not ContactState.PAUSED and contact.state is not ContactState.LINK_LOST:
            assert len(offer.unit_numbers) == contact.units, f"{contact.contact_id} has too few units"
    if contact.state in RUNS:
        assert contact.due_ms is not None, f"{contact.contact_id} is {contact.state} for ever"


def _check_agent(state: State, agent: Agent) -> None:
    seen: set[int] = set(agent.elsewhere)
    for contact_id, (_, numbers) in agent.work.items():
        contact = state.contacts.get(contact_id)
        assert contact is not None, f"{agent.agent_id} holds {contact_id}, which is over"
        offers = contact.offers if contact.holding is None else [contact.holding]
        mine = [one for one in offers if one.agent_id == agent.agent_id]
        assert len(mine) == 1, f"{contact_id} is not {agent.agent_id}'s"
        assert numbers[-1] <= agent.units or mine[0].over, f"{agent.agent_id} has {agent.units} units, not {numbers}"
        assert not seen & set(numbers), f"{agent.agent_id} uses a unit twice"
        seen.update(numbers)
    offered = agent.agent_id in state.slots
    assert not offered or agent.routing_state == "ready", f"{agent.agent_id} is {agent.routing_state} and is found"
