"""A shard is built anew in time that grows with what it holds, however different needs are, and bit by bit."""

import time

import msgspec

from common.contracts.policies import Need
from router.core import State, step
from router.core.invariants import check, checking
from router.core.model import decisions, events
from router.core.model.agent import Agent
from router.core.model.contact import Contact
from router.core.model.queue import Queue
from router.core.restore import restore, restoring
from tests.support.builders import arrived, queue, seen

Kept = tuple[list[Queue], list[Agent], list[Contact]]


def kept(waiting: int, *, agents: int = 30) -> Kept:
    """A queue whose contacts all ask for something else, and agents who each can do something else and are away."""
    about = queue(requirements=(("es", 1),))
    state = State()
    step(state, events.QueueSet(queue=about), 1)
    for number in range(agents):
        about_agent = {"skills": (("es", 1 + number % 99),), "languages": (f"l{number}",), "presence": "break"}
        step(state, seen(f"a{number}", **about_agent), 1)
    step(state, arrived("one"), 1)
    (one,) = state.contacts.values()
    contacts = [
        msgspec.structs.replace(
            one,
            contact_id=f"c{number:05d}",
            need=Need(region=f"r{number}"),
        )
        for number in range(waiting)
    ]
    return [about], list(state.agents.values()), contacts


def cpu_s(of: Kept) -> float:
    """Of a rebuild and its check: the best of three, of this process alone, so that a busy machine changes little."""
    best = float("inf")
    queues, agents, contacts = of
    for _ in range(3):
        crew = [msgspec.structs.replace(one) for one in agents]
        started = time.process_time()
        check(restore(queues=queues, agents=crew, contacts=contacts, ended={}, now_ms=5))
        best = min(best, time.process_time() - started)
    return best


def test_eight_times_the_waiting_contacts_take_about_eight_times_as_long() -> None:
    few, many = kept(1_000), kept(8_000)

    assert cpu_s(many) < 24 * cpu_s(few), "the work grows with the square of the contacts"


def test_a_rebuild_gives_way_often() -> None:
    queues, agents, contacts = kept(1_000)
    state = State(now_ms=5)

    turns = sum(1 for _ in restoring(state, queues=queues, agents=agents, contacts=contacts))
    checks = sum(1 for _ in checking(state))

    assert turns >= 1_000 / 100 and checks >= 1_000 / 500
    assert len(state.place_of) == 1_000 and len(state.groups) == 1_000


def test_groups_that_are_linked_together_find_the_same_agents_as_those_linked_one_by_one() -> None:
    about = queue()
    state = State()
    step(state, events.QueueSet(queue=about), 1)
    for number in range(70):
        skills = tuple((f"l{each}", 50) for each in range(number % 9))
        step(state, seen(f"a{number}", skills=skills, presence="break"), 1)
    for number in range(300):
        need = (
            Need(agent=f"a{number}") if number % 10 == 0 else Need(skill=f"l{number % 12}", max_level=99 - number % 40)
        )
        step(state, arrived(f"c{number}", need=need), 1)
    again = restore(
        queues=[about],
        agents=msgspec.json.decode(msgspec.json.encode(list(state.agents.values())), type=list[Agent]),
        contacts=msgspec.json.decode(msgspec.json.encode(list(state.contacts.values())), type=list[Contact]),
        ended={},
        now_ms=1,
    )

    assert _links(again) == _links(state)
    for number in (3, 8, 20):
        told = seen(f"a{number}", skills=(("l1", 50), ("l7", 60)), seq=2)
        assert _offers(step(again, told, 2)) == _offers(step(state, told, 2)) != []
    check(again)


def _links(state: State) -> dict[tuple[str, str, Need], list[str]]:
    """By group, the agents who may serve it; both directions must say the same."""
    found = {}
    for key, group in state.groups.items():
        there = {one.no for one in state.profiles.values() if group.able >> one.no & 1}
        assert there == {one.no for one in state.profiles.values() if one.able >> group.no & 1}, key
        found[key] = sorted(name for name, profile in state.profile_of.items() if profile.no in there)
    return found


def _offers(decided: tuple[object, ...]) -> list[tuple[str, str]]:
    return [(one.contact_id, one.agent_id) for one in decided if isinstance(one, decisions.Offered)]
