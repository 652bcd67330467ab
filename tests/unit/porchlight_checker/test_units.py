"""What the checker says of capacity: by agents' own facts and queues' policies, whatever the router says of itself."""

import json
from typing import Any

import pytest

from porchlight_checker.check import check
from porchlight_checker.history import History, Line, Published, note_picture, note_policy

BASE_MS = 1_795_608_000_000


class Log:
    """A routing log that is written line by line, and the facts of the others."""

    def __init__(self) -> None:
        self.history, self.attempts = History(), dict[str, int]()
        self.has("ann", 6)
        for queue in ("calls", "mail"):
            self.defined(queue, 1)

    def has(self, agent: str, units: int, *, seq: int = 1) -> None:
        fact = {"agent_id": agent, "session_no": 1, "seq": seq, "units": units}
        note_picture(self.history, self._published("agent.presence_changed", fact))

    def defined(self, queue: str, version: int, **capacity: Any) -> None:
        fact = {"queue": queue, "version": version, "policy": {"capacity": capacity}}
        note_policy(self.history, self._published("queue.defined", fact))

    @staticmethod
    def _published(kind: str, fact: dict[str, Any]) -> Published:
        return Published(shard=0, seq=1, epoch=1, type=kind, body=json.dumps(fact), sent_ms=0)

    def line(self, kind: str, contact: str, *, shard: int = 0, at_ms: int | None = None, **fields: Any) -> None:
        seq = sum(one.shard == shard for one in self.history.log) + 1
        committed_ms = BASE_MS + (len(self.history.log) if at_ms is None else at_ms)
        body = json.dumps({"contact_id": contact, "queue": "calls", **fields})
        self.history.log.append(
            Line(shard=shard, seq=seq, epoch=1, type=kind, at_ms=BASE_MS, body=body, committed_ms=committed_ms)
        )
        self.history.last_seq[shard] = seq

    def offer(self, contact: str, units: int = 6, *, shard: int = 0, at_ms: int | None = None, **fields: Any) -> None:
        if contact not in self.attempts:
            self.line("contact.queued", contact, shard=shard, at_ms=at_ms)
        self.attempts[contact] = self.attempts.get(contact, 0) + 1
        usual = {"attempt": self.attempts[contact], "agent_id": "ann", "channel": "voice", "session_no": 1}
        usual |= {"agent_seq": 1, "queue_version": 1, "exceeds": False}
        self.line("offer.made", contact, shard=shard, at_ms=at_ms, **{**usual, "units": units, **fields})

    def decline(self, contact: str, *, shard: int = 0, at_ms: int | None = None) -> None:
        about = {"attempt": self.attempts[contact], "agent_id": "ann", "still_out": 0}
        self.line("offer.declined", contact, shard=shard, at_ms=at_ms, **about)


def of_log(log: Log) -> list[str]:
    """What is wrong with capacity by the log alone: there are no tables here that it could differ from."""
    found = [
        one.text for one in check(log.history).violations if one.invariant == "I3" and "units, not {" not in one.text
    ]
    return [text.split(": ")[-1] for text in found]


def test_one_contact_more_than_an_agent_has_units_for_is_found_though_the_offer_says_that_it_exceeds() -> None:
    for exceeds in (False, True):
        log = Log()
        log.offer("c1")
        log.offer("c2", exceeds=exceeds)

        assert of_log(log) == ["ann has 12 units in use, of 6"]


def test_capacity_is_what_the_agent_told_and_not_what_the_router_made_room_for() -> None:
    log = Log()
    log.has("ann", 12)
    log.offer("c1")
    log.offer("c2")
    assert of_log(log) == []

    log.history.pictures["ann"][1, 1] = 6
    assert of_log(log) == ["ann has 12 units in use, of 6"]


def test_a_queue_that_may_exceed_does_so_once_and_has_to_say_it() -> None:
    log = Log()
    log.defined("calls", 1, exceed=True)
    log.offer("c1")
    log.offer("c2", exceeds=True)
    assert of_log(log) == []

    log.offer("c3", exceeds=True)
    assert of_log(log) == ["ann has 18 units in use, of 6"]
    silent = Log()
    silent.defined("calls", 1, exceed=True)
    silent.offer("c1")
    silent.offer("c2")
    assert of_log(silent) == ["ann has 12 units in use, of 6, and nobody says so"]


def test_an_offer_that_says_it_exceeds_and_does_not_is_found() -> None:
    log = Log()
    log.offer("c1", exceeds=True)

    assert of_log(log) == ["ann has 6 of 6 units in use, and the offer says that it exceeds them"]


@pytest.mark.parametrize(("interrupts", "found"), [(["email"], 0), (["chat"], 1), ([], 1)])
def test_a_contact_that_may_interrupt_is_no_finding_and_one_that_may_not_is(interrupts: list[str], found: int) -> None:
    log = Log()
    log.defined("calls", 1, interrupts=interrupts)
    log.offer("m", 1, queue="mail", channel="email")
    log.offer("c", exceeds=True)

    assert len(of_log(log)) == found


def test_units_that_the_queue_does_not_ask_for_are_found() -> None:
    log = Log()
    log.defined("calls", 2, units={"voice": 3})
    log.offer("c1", 6, queue_version=2)
    assert of_log(log) == ["takes 6 units, calls asks for 3"]

    log = Log()
    log.offer("c1", 3)
    assert of_log(log) == ["takes 3 units, calls asks for 6"]


def test_a_capacity_that_is_lowered_is_no_finding_for_what_is_out_and_one_for_what_comes_after() -> None:
    log = Log()
    log.has("ann", 12)
    log.has("ann", 6, seq=2)
    log.offer("c1")
    log.offer("c2")
    log.decline("c1")
    assert of_log(log) == []

    log.offer("c3", agent_seq=2)
    assert of_log(log) == ["ann has 12 units in use, of 6"]


def test_an_offer_by_a_picture_or_a_policy_that_nobody_told_is_found() -> None:
    log = Log()
    log.has("ann", 12, seq=3)
    log.offer("c1", agent_seq=3)
    log.offer("c2", agent_seq=1)
    log.decline("c1")
    log.decline("c2")
    log.offer("c1", agent_seq=2, queue_version=9)

    assert of_log(log) == [
        "goes by picture (1, 1) of ann, after (1, 3)",
        "ann has 12 units in use, of 6",
        "goes by picture (1, 2) of ann, after (1, 3)",
        "goes by picture (1, 2) of ann, which was never told",
        "goes by version 9 of calls, which was never defined",
    ]


def test_units_of_two_shards_are_counted_together_in_the_order_in_which_they_were_written() -> None:
    for second_at_ms, found in ((5, 0), (1, 1)):
        log = Log()
        log.offer("c1", at_ms=0)
        log.decline("c1", at_ms=3)
        log.offer("c2", shard=1, at_ms=second_at_ms)

        assert len(of_log(log)) == found


def test_what_a_release_before_wrote_is_judged_by_the_most_that_the_agent_ever_had() -> None:
    log = Log()
    log.has("ann", 7, seq=2)
    old = {"agent_seq": 0, "queue_version": 0}
    log.offer("c1", **old)
    log.offer("m", 1, queue="mail", channel="email", **old)

    assert of_log(log) == []
    assert check(log.history).looked_at["offers without a fact to judge by"] == 0
    log.offer("c2", **old)
    assert check(log.history).looked_at["offers without a fact to judge by"] == 1
