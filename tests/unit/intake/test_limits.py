"""Limits of one client: contacts that wait."""

from collections import Counter

from intake.limits import RECOUNTED_S, Waiting
from tests.support.machines import StillMachine


class Contacts:
    """Counts how often it is asked to count."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        self.asked: Counter[str] = Counter()

    async def count_waiting(self, *, client_id: str, most: int) -> int:
        self.asked[client_id] += 1
        return min(self.waiting, most)


async def test_a_client_who_is_far_from_the_limit_is_counted_once(machine: StillMachine) -> None:
    contacts = Contacts(3)
    waiting = Waiting(contacts, waiting_max=100)  # type: ignore[arg-type] # all that it asks for

    for _ in range(40):
        assert not await waiting.is_full("a")
        waiting.accepted("a")
        machine.now_s += 1

    assert contacts.asked["a"] == 1


async def test_who_has_as_many_waiting_as_may_is_told_so_until_some_have_left(machine: StillMachine) -> None:
    contacts = Contacts(0)
    waiting = Waiting(contacts, waiting_max=10)  # type: ignore[arg-type] # all that it asks for
    for _ in range(10):
        assert not await waiting.is_full("a")
        waiting.accepted("a")

    assert await waiting.is_full("a") and not await waiting.is_full("b")
    contacts.waiting = 9
    assert await waiting.is_full("a")
    machine.now_s += RECOUNTED_S + 0.1
    assert not await waiting.is_full("a")
