"""Facts from others: each place in a log counts once, what has no place there is refused, and what fails is set aside alone."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from common.contracts.config import SkillDefined
from common.contracts.envelope import Envelope, to_headers
from common.runtime import following, metrics
from common.runtime.bus import Incoming, Outgoing, Place
from common.runtime.failures import Retryable
from common.runtime.following import GIVEN_UP_MAX, KEPT_OF_A_GAP, TRIES_MAX, Follower, Gaps, Sequences, reason_shown
from common.testing.bus import MemoryBus
from tests.support.turns import turn

TOPIC = "t.routing.v1"


def record(seq: int | None, *, shard: int = 0, offset: int = 0, topic: str = TOPIC, epoch: int | None = 1) -> Incoming:
    envelope = Envelope(event_id="e", type="t", occurred_at_ms=1, key="k", producer="router", sequence=seq, epoch=epoch)
    return Incoming(topic=topic, partition=shard, offset=offset, headers=(), value=b"", envelope=envelope)


class TestSequences:
    def test_each_place_in_a_log_counts_once(self) -> None:
        sequences = Sequences({0: 2})

        given = [sequences.is_fresh(record(seq)) for seq in (1, 2, 3, 3, 2, 4)]
        assert given == [False, False, True, False, False, True]

    def test_shards_do_not_mix(self) -> None:
        sequences = Sequences({})

        assert sequences.is_fresh(record(1, shard=3)) and sequences.is_fresh(record(1, shard=4))

    @pytest.mark.parametrize(
        ("seq", "epoch"),
        [(None, None), (None, 1), (3, None), (0, 1), (-1, 1), (3, 0), (5, 1), (999_999, 1), (10**40, 1)],
    )
    def test_what_has_no_place_in_the_log_is_refused_and_moves_no_mark(
        self, seq: int | None, epoch: int | None
    ) -> None:
        sequences = Sequences({0: 2})

        assert sequences.refusal(record(seq, epoch=epoch)) != ""
        assert sequences.marks == {0: 2}
        assert sequences.refusal(record(3)) == "" and sequences.is_fresh(record(3))

    @pytest.mark.parametrize("topic", ["t.contacts.v1", "t.agents.v1"])
    def test_facts_of_other_topics_need_no_place_and_leave_the_marks_alone(self, topic: str) -> None:
        sequences = Sequences({0: 2})

        for seq in (None, 3, 900):
            assert sequences.refusal(record(seq, topic=topic)) == "" and sequences.is_fresh(record(seq, topic=topic))
        assert sequences.marks == {0: 2}


def test_a_gap_is_read_again_once_and_then_counted_until_it_is_closed() -> None:
    gaps, kept = Gaps("someone"), 0
    before = metrics.facts_refused.labels("someone")._value.get()
    with pytest.raises(Retryable):
        gaps.refuse(record(5, offset=7), "has sequence 5 after 2")
    for offset in range(7, 7 + KEPT_OF_A_GAP + 30):
        kept += gaps.refuse(record(5, offset=offset), "has sequence 5 after 2")

    assert kept == KEPT_OF_A_GAP - 1
    assert metrics.facts_refused.labels("someone")._value.get() == before + KEPT_OF_A_GAP + 30
    assert metrics.log_gaps.labels("someone")._value.get() == 1
    gaps.went_on(record(3, topic="t.contacts.v1"))
    assert metrics.log_gaps.labels("someone")._value.get() == 1
    gaps.went_on(record(3))
    assert metrics.log_gaps.labels("someone")._value.get() == 0


def test_a_reason_can_be_stored_whatever_was_in_it() -> None:
    shown = reason_shown("a\x00b\ud800c" + "d" * 9_000)

    assert "\x00" not in shown and len(shown.encode()) < 1_000


class Table:
    """Where a follower's effects and positions are, together."""

    def __init__(self, refuses: Callable[[Incoming], bool]) -> None:
        self.refuses = refuses
        self.applied: list[str] = []
        self.parked: list[Incoming] = []
        self.offsets: dict[Place, int] = {}
        self.marks: dict[int, int] = {}


class Seat:
    """See `common.runtime.following.Seat`."""

    def __init__(self, table: Table) -> None:
        self.table = table

    async def take(self) -> bool:
        return True

    async def positions(self, topics: Sequence[str]) -> tuple[dict[Place, int], Sequences]:
        start = {Place(topic=topic, partition=0): 0 for topic in topics}
        return {**start, **self.table.offsets}, Sequences(self.table.marks)

    async def commit(
        self,
        *,
        readable: Sequence[Incoming],
        bad: Sequence[Incoming],
        ends: Mapping[Place, int],
        marks: Mapping[int, int],
    ) -> None:
        await turn()
        for one in readable:
            if self.table.refuses(one):
                raise LookupError("no table takes it")
        self.table.applied += [one.fact.skill for one in readable]  # type: ignore[union-attr]
        self.table.parked += bad
        self.table.offsets.update(ends)
        self.table.marks.update(marks)

    async def note(self) -> None:
        pass

    async def close(self) -> None:
        pass


def skill(name: str, seq: int | None, *, epoch: int | None = 1, topic: str = TOPIC) -> Outgoing:
    about = Envelope(
        event_id=name, type="skill.defined", occurred_at_ms=1, key=name, producer="router", sequence=seq, epoch=epoch
    )
    value = b'{"type":"skill.defined","skill":"%s","version":1}' % name.encode()
    return Outgoing(topic=topic, partition=0, key=name, headers=to_headers(about), value=value)


async def followed(table: Table, bus: MemoryBus, *, until: Callable[[], bool]) -> None:
    """A follower runs until then; if it ends by itself, its error."""

    async def open_seat() -> Any:
        return Seat(table)

    task = asyncio.create_task(Follower(name="f", open_seat=open_seat, bus=bus, topics=[TOPIC]).run())
    async with asyncio.timeout(60):
        while not until() and not task.done():
            await turn()
    if task.done():
        task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "BACK_OFF_S", 0.0)


@pytest.mark.usefixtures("hasty")
async def test_a_forged_fact_and_a_gap_are_set_aside_and_the_log_goes_on_when_its_facts_come() -> None:
    table, bus = Table(lambda _: False), MemoryBus()
    forged = [skill("nowhere", None, epoch=None), skill("far", 999_999)]
    lost = [skill("c", 3), skill("d", 4)]
    await bus.publish([skill("a", 1), *forged, skill("b", 2), skill("e", 5)])

    await followed(table, bus, until=lambda: len(table.parked) == 3)
    assert table.applied == ["a", "b"] and table.marks == {0: 2}
    assert metrics.log_gaps.labels("f")._value.get() == 1

    await bus.publish([*lost, skill("e", 5), skill("f", 6)])  # the log is published again
    await followed(table, bus, until=lambda: "f" in table.applied)

    assert table.applied == ["a", "b", "c", "d", "e", "f"]
    assert [one.envelope.key for one in table.parked if one.envelope] == ["nowhere", "far", "e"]
    assert all(one.bad for one in table.parked)


@pytest.mark.usefixtures("hasty")
async def test_a_fact_that_no_table_takes_is_parked_after_three_tries_and_only_it() -> None:
    table, bus = Table(lambda one: one.fact == SkillDefined(skill="c", version=1)), MemoryBus()
    before = metrics.reader_failures.labels("f")._value.get()
    await bus.publish([skill(name, number) for number, name in enumerate("abcde", start=1)])

    await followed(table, bus, until=lambda: "e" in table.applied)

    assert table.applied == list("abde") and table.marks == {0: 5}
    assert [one.bad for one in table.parked] == ["made f fail 3 times: LookupError"]
    assert metrics.reader_failures.labels("f")._value.get() == before + 1 + TRIES_MAX
    assert table.offsets == {Place(topic=TOPIC, partition=0): 5}


@pytest.mark.usefixtures("hasty")
async def test_when_every_fact_fails_it_is_not_the_facts() -> None:
    table, bus = Table(lambda _: True), MemoryBus()
    await bus.publish([skill(f"s{number}", number) for number in range(1, 100)])

    with pytest.raises(LookupError):
        await followed(table, bus, until=lambda: False)

    assert len(table.parked) == GIVEN_UP_MAX


@pytest.mark.usefixtures("hasty")
async def test_a_fact_that_cannot_be_read_keeps_its_place_in_the_log() -> None:
    table, bus = Table(lambda _: False), MemoryBus()
    broken = skill("b", 2)
    broken = Outgoing(topic=TOPIC, partition=0, key="b", headers=broken.headers, value=b"[" * 100_000)
    await bus.publish([skill("a", 1), broken, skill("c", 3)])

    await followed(table, bus, until=lambda: "c" in table.applied)

    assert len(table.parked) == 1 and table.marks == {0: 3}


@pytest.mark.usefixtures("hasty")
async def test_a_cancellation_that_came_out_of_a_driver_does_not_end_the_follower() -> None:
    strays = [asyncio.CancelledError()]

    def refuses(_one: Incoming) -> bool:
        if strays:
            raise strays.pop()
        return False

    table, bus = Table(refuses), MemoryBus()
    await bus.publish([skill("a", 1), skill("b", 2)])

    await followed(table, bus, until=lambda: "b" in table.applied)

    assert table.applied == ["a", "b"] and not strays
