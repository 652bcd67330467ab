"""A shard looks for units that another shard still has of its agents, when they sign in and until they are given back."""

from collections.abc import Sequence
from typing import Any, cast

from router.core import State, step
from router.core.model import events
from router.sharding.elsewhere import LOOK_EVERY_MS, Elsewhere
from router.sharding.ports import Ledger
from tests.support.builders import arrived, seen


class Units:
    """Answers as a ledger does, and counts how often it was asked."""

    def __init__(self, **taken: tuple[int, ...]) -> None:
        self.taken = taken
        self.asked: list[list[str]] = []

    async def elsewhere(self, agent_ids: Sequence[str]) -> dict[str, tuple[int, ...]]:
        self.asked.append(list(agent_ids))
        return {name: self.taken[name] for name in agent_ids if name in self.taken}


class Ours:
    """A shard's core, and what looks for it."""

    def __init__(self, units: Units) -> None:
        self.units, self.state = units, State()
        self.elsewhere = Elsewhere(cast("Ledger", units))

    async def tell(self, *told: events.Input, now_ms: int) -> list[Any]:
        all_told = await self.elsewhere.look(self.state, told, now_ms)
        for one in all_told:
            step(self.state, one, now_ms)
        return all_told


async def test_who_signs_in_is_looked_for_once_with_all_others_of_the_batch() -> None:
    ours = Ours(Units(ann=(1, 2)))

    await ours.tell(seen("ann"), seen("bob"), seen("cid", presence="offline"), now_ms=0)
    assert ours.units.asked == [["ann", "bob"]]
    assert [one.elsewhere for one in ours.state.agents.values()] == [(1, 2), (), ()]
    await ours.tell(seen("bob", seq=2, presence="break"), events.Ticked(), now_ms=10_000_000)
    assert ours.units.asked[1:] == [["ann"]], "only who has something elsewhere is asked for again"


async def test_they_are_looked_for_again_until_they_are_given_back() -> None:
    ours = Ours(Units(ann=(1, 2)))
    await ours.tell(seen("ann"), now_ms=50_000)

    for now_ms in (50_001, 51_000, 51_001, 52_100):
        await ours.tell(events.Ticked(), now_ms=now_ms)
    assert len(ours.units.asked) == 1 + 3 and LOOK_EVERY_MS == 1_000
    del ours.units.taken["ann"]
    told = await ours.tell(events.Ticked(), now_ms=60_000)
    assert told[0] == events.UnitsElsewhere(agent_id="ann", unit_numbers=())
    assert ours.state.agents["ann"].elsewhere == ()
    await ours.tell(events.Ticked(), now_ms=70_000)
    assert len(ours.units.asked) == 5


async def test_a_rebuilt_shard_goes_on_looking() -> None:
    ours = Ours(Units(ann=(1, 2)))
    step(ours.state, seen("ann", elsewhere=(1, 2)), 0)
    ours.units.taken = {"ann": (2,)}

    await ours.tell(events.Ticked(), now_ms=5_000)
    assert ours.state.agents["ann"].elsewhere == (2,)


async def test_where_nobody_signs_in_nothing_is_asked() -> None:
    ours = Ours(Units())

    told = [arrived(), events.Ticked()]
    assert await ours.elsewhere.look(ours.state, told, 5_000) == told and ours.units.asked == []
