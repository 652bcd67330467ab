"""The history checker: replays the routing log in a naive model and compares it with what everybody else saw.

It shares no code with the routing core, and knows facts only as JSON: an oracle must not call what it judges.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from porchlight_checker.history import History, Line
from porchlight_checker.units import Units

CLOCK_SLACK_MS = 2.0
"""Two processes of one machine may read its clock so far apart (milliseconds are cut, not rounded)."""
COMMIT_MAX_MS = 5_000.0
"""A commit is given up after so long. What seems earlier than its commit by more is a difference of two clocks, which may be a
minute; the log's own order (sequences, epochs) is judged all the same.
"""
VIOLATIONS_MAX = 200
"""More are counted, not listed."""

AFTER = {  # fact type: (states before, state after); what comes after an offer depends on whether others are out
    "contact.scheduled": ((None,), "scheduled"),
    "contact.queued": ((None, "scheduled"), "queued"),
    "contact.moved": (("queued",), "queued"),
    "contact.escalated": (("queued",), "queued"),
    "contact.callback_arranged": (("queued", "scheduled"), "queued"),
    "step.joined": ((None, "queued", "scheduled"), "queued"),
    "step.expired": (("queued",), "queued"),
    "step.skipped": (("queued",), "queued"),
    "offer.made": (("queued", "offered"), "offered"),
    "offer.accepted": (("offered",), "assigned"),
    "offer.declined": (("offered",), "queued"),
    "offer.timed_out": (("offered",), "queued"),
    "offer.rescinded": (("offered",), "queued"),
    "contact.responded": (("assigned",), "assigned"),
    "contact.paused": (("assigned",), "paused"),
    "contact.resumed": (("paused",), "assigned"),
    "contact.link_lost": (("assigned", "paused"), "link_lost"),
    "contact.link_restored": (("link_lost",), "assigned"),
    "contact.requeued": (("assigned", "link_lost"), "queued"),
    "contact.transferred": (("assigned", "paused"), "queued"),
    "wrap_up.started": (("assigned",), "wrap_up"),
    "contact.completed": (("assigned", "paused", "link_lost", "wrap_up"), "completed"),
    "contact.abandoned": (("queued", "scheduled"), "abandoned"),
    "contact.cancelled": (("queued", "scheduled"), "cancelled"),
    "contact.expired": (("queued",), "expired"),
    "contact.overflowed": (("queued",), "overflowed"),
}
HELD = ("assigned", "paused", "link_lost", "wrap_up")
OVER = ("completed", "abandoned", "cancelled", "expired", "overflowed")
TAKES = ("offer.made", "contact.resumed")
GIVEN_BACK = ("offer.declined", "offer.timed_out", "offer.rescinded")


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant of the design (I1 to I8) that does not hold, and the evidence."""

    invariant: str
    text: str


@dataclass(slots=True)
class Verdict:
    """What was found, and how much was looked at."""

    violations: list[Violation] = field(default_factory=list)
    total: int = 0
    looked_at: dict[str, int] = field(default_factory=dict)

    def add(self, invariant: str, text: str) -> None:
        """One more violation."""
        self.total += 1
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(invariant, text))


@dataclass(slots=True)
class _Contact:
    """`offers` are out, by attempt: (agent, units). `held`: (attempt, agent, units) of who accepted."""

    state: str | None = None
    queue: str = ""
    channel: str = ""
    attempt: int = 0
    offers: dict[int, tuple[str, int]] = field(default_factory=dict)
    held: tuple[int, str, int] | None = None
    accepted_by: dict[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def agent(self) -> str:
        if self.held is not None:
            return self.held[1]
        return self.offers[max(self.offers)][0] if self.offers else ""

    @property
    def live(self) -> dict[tuple[int, str], int]:
        """(attempt, agent) of what is offered or held, with the units that it takes."""
        found = {(attempt, agent): units for attempt, (agent, units) in self.offers.items()}
        if self.held is not None:
            found[self.held[0], self.held[1]] = self.held[2]
        return found


def check(history: History, *, settled: bool = True) -> Verdict:
    """Verify I1 to I8. `settled`: nothing is under way any more, so every accepted contact must have been queued."""
    verdict = Verdict()
    model = _replay(history, verdict)
    _check_tables(history, model, verdict)
    _check_published(history, verdict)
    _check_accepted(history, model, verdict, settled=settled)
    _check_agents(history, model, verdict)
    verdict.looked_at |= {
        "journal lines": len(history.journals),
        "log lines": len(history.log),
        "published records": len(history.published),
        "contacts": len(history.accepted),
        "assignments": len(history.assignments),
    }
    return verdict


def _replay(history: History, verdict: Verdict) -> dict[str, _Contact]:
    model: dict[str, _Contact] = defaultdict(_Contact)
    units = Units(history.pictures, history.policies)
    seq: dict[int, int] = defaultdict(int)
    epoch: dict[int, int] = defaultdict(int)
    for line in _in_time(history.log):
        if line.seq != seq[line.shard] + 1:
            verdict.add("I4", f"shard {line.shard}: sequence {line.seq} after {seq[line.shard]}")
        if line.epoch < epoch[line.shard]:
            verdict.add("I4", f"shard {line.shard}, {line.seq}: epoch {line.epoch} wrote after {epoch[line.shard]}")
        seq[line.shard], epoch[line.shard] = line.seq, max(epoch[line.shard], line.epoch)
        if line.type in AFTER:
            _step(model, units, line, json.loads(line.body), verdict)
    for shard, last in history.last_seq.items():
        if seq[shard] != last:
            verdict.add("I7", f"shard {shard}: the lease says {last}, the log ends at {seq[shard]}")
    verdict.looked_at["offers without a fact to judge by"] = units.unknown
    return model


def _in_time(log: list[Line]) -> list[Line]:
    """The lines of all shards as they were written, one after the other; a shard's own order is kept whatever the clock did."""
    newest: dict[int, float] = defaultdict(float)
    at: list[tuple[float, int]] = []
    for number, line in enumerate(log):
        newest[line.shard] = max(newest[line.shard], line.committed_ms)
        at.append((newest[line.shard], number))
    return [log[number] for _, number in sorted(at)]


def _step(
    model: dict[str, _Contact],
    units: Units,
    line: Line,
    fact: dict[str, Any],
    verdict: Verdict,
) -> None:
    contact = model[fact["contact_id"]]
    where = f"shard {line.shard}, {line.seq}: {line.type} of {fact['contact_id']}"
    before, after = AFTER[line.type]
    if contact.state not in before:
        double = line.type == "offer.made" and contact.state in HELD
        verdict.add("I2" if double else "I7", f"{where} in state {contact.state}")
    had = [agent for _, agent in contact.live]
    contact.queue = fact["queue"]
    contact.channel = fact.get("channel", contact.channel)
    if line.type in TAKES:
        units.judge(fact, contact.channel, lambda text: verdict.add("I3", f"{where}: {text}"))
    if line.type == "offer.made":
        if fact["attempt"] != contact.attempt + 1:
            verdict.add("I7", f"{where}: attempt {fact['attempt']} after {contact.attempt}")
        contact.attempt = fact["attempt"]
        contact.offers[fact["attempt"]] = (fact["agent_id"], fact["units"])
    elif line.type == "offer.accepted" or line.type in GIVEN_BACK:
        after = _answer(contact, line, fact, where, verdict) or after
    elif "attempt" in fact:
        after = _of_the_holder(contact, line, fact, where, verdict) or after
    if line.type == "contact.callback_arranged" and fact["due_ms"] is not None:
        after = "scheduled"
    taken = {agent: number for (_, agent), number in contact.live.items()}
    units.now(fact["contact_id"], contact.channel, had, taken)
    contact.state = after


def _answer(contact: _Contact, line: Line, fact: dict[str, Any], where: str, verdict: Verdict) -> str | None:
    """An offer was accepted or came back; the state afterwards where the table does not say it."""
    offer = contact.offers.pop(fact["attempt"], None)
    if offer is None or offer[0] != fact["agent_id"]:
        verdict.add("I8", f"{where}: by {fact['agent_id']}, attempt {fact['attempt']}; it is {offer}'s")
    if line.type != "offer.accepted":
        if fact["still_out"] != len(contact.offers):
            verdict.add("I7", f"{where}: {fact['still_out']} still out, {len(contact.offers)} are")
        return "offered" if contact.offers else None
    if contact.offers or contact.held is not None:
        verdict.add("I2", f"{where}: also {contact.live}")
    contact.held = (fact["attempt"], fact["agent_id"], 0 if offer is None else offer[1])
    contact.accepted_by[fact["attempt"]] = (fact["agent_id"], fact["command_id"])
    return None


def _of_the_holder(contact: _Contact, line: Line, fact: dict[str, Any], where: str, verdict: Verdict) -> str | None:
    held = contact.held
    if held is None or (fact["attempt"], fact["agent_id"]) != held[:2]:
        verdict.add("I8", f"{where}: by {fact['agent_id']}, attempt {fact['attempt']}; it is {held}'s")
    elif line.type == "contact.paused":
        contact.held = (held[0], held[1], 0)
    elif line.type == "contact.resumed":
        contact.held = (held[0], held[1], fact["units"])
    elif line.type == "contact.link_restored":
        return "assigned" if held[2] else "paused"
    elif AFTER[line.type][1] not in HELD:
        contact.held = None
    return None


def _check_tables(history: History, model: dict[str, _Contact], verdict: Verdict) -> None:
    for contact_id in sorted(set(model) | set(history.contacts)):
        row = history.contacts.get(contact_id)
        contact = model.get(contact_id)
        told = None if contact is None else (contact.state, contact.attempt, contact.agent, contact.queue)
        if row != told:
            verdict.add("I7", f"{contact_id}: the table says {row}, the log {told}")
    live: dict[str, dict[tuple[int, str], int]] = defaultdict(dict)
    accepted: dict[str, tuple[int, str]] = {}
    for contact_id, attempt, agent, was_accepted, released in history.assignments:
        if released is not None:
            continue
        if was_accepted and contact_id in accepted:
            verdict.add("I2", f"{contact_id} has two live assignments: {accepted[contact_id]} and {(attempt, agent)}")
        if was_accepted:
            accepted[contact_id] = (attempt, agent)
        live[contact_id][attempt, agent] = 0
    for agent, number, contact_id, attempt in history.units_used:
        if (attempt, agent) not in live[contact_id]:
            verdict.add(
                "I3", f"unit {number} of {agent} is taken by {contact_id}, attempt {attempt}, which is not live"
            )
        else:
            live[contact_id][attempt, agent] += 1
    for contact_id in sorted(set(live) | set(model)):
        told_live = model[contact_id].live if contact_id in model else {}
        if set(live[contact_id]) != set(told_live):
            verdict.add("I2", f"{contact_id}: assigned {sorted(live[contact_id])}, by the log {sorted(told_live)}")
        elif live[contact_id] != told_live:
            verdict.add("I3", f"{contact_id} takes {live[contact_id]} units, not {told_live}")
        held = model[contact_id].held if contact_id in model else None
        if accepted.get(contact_id) != (None if held is None else held[:2]):
            verdict.add("I2", f"{contact_id}: held by {accepted.get(contact_id)}, by the log {held}")


def _early_ms(seen_ms: float, committed_ms: float, history: History) -> float:
    """By how much something was seen, by a service's or client's clock, before PostgreSQL's says that it was committed; 0 when
    clocks that differ as they may explain it.
    """
    early_ms = committed_ms - max(0.0, history.database_ahead_ms) - seen_ms
    return early_ms if CLOCK_SLACK_MS < early_ms <= COMMIT_MAX_MS else 0.0


def _check_published(history: History, verdict: Verdict) -> None:
    log = {(line.shard, line.seq): line for line in history.log}
    seen: set[tuple[int, int]] = set()
    newest: dict[int, int] = defaultdict(int)
    for record in history.published:
        key = (record.shard, record.seq)
        line = log.get(key)
        if line is None or (line.type, line.body, line.epoch) != (record.type, record.body, record.epoch):
            verdict.add("I6", f"published {record.type} at {key}, which the log does not have so")
            continue
        if key not in seen:
            if record.seq != newest[record.shard] + 1:
                verdict.add("I6", f"shard {record.shard}: published {record.seq} after {newest[record.shard]}")
            early = _early_ms(record.sent_ms, line.committed_ms, history)
            if early:
                verdict.add("I6", f"published {record.type} at {key} {early:.0f} ms before it was written")
            newest[record.shard] = max(newest[record.shard], record.seq)
        seen.add(key)
    for key in sorted(set(log) - seen):
        verdict.add("I7", f"{log[key].type} at {key} was committed and never published")


def _check_accepted(history: History, model: dict[str, _Contact], verdict: Verdict, *, settled: bool) -> None:
    promised: dict[str, list[str]] = defaultdict(list)
    for line in history.journals:
        if line["what"] != "posted":
            continue
        promised[line["key"]].append(line["contact_id"])
        stored = history.accepted.get(line["contact_id"])
        if stored is None:
            verdict.add("I1", f"{line['contact_id']} was promised with 202 and is not there")
        elif _early_ms(line["at_ms"], stored["stored_ms"], history):
            verdict.add("I1", f"{line['contact_id']} was promised before it was stored")
    for key, contacts in promised.items():
        if len(set(contacts)) > 1:
            verdict.add("I5", f"key {key} made {sorted(set(contacts))}")
    by_key: dict[tuple[str, str], set[str]] = defaultdict(set)
    for client, key, contact_id in history.keys:
        by_key[client, key].add(contact_id)
    keyed = {contact_id for contacts in by_key.values() for contact_id in contacts}
    for contact_id in sorted(set(history.accepted) - keyed):
        verdict.add("I5", f"{contact_id} was accepted without a key of its own")
    if not settled:
        return
    for contact_id, stored in sorted(history.accepted.items()):
        contact = model.get(contact_id)
        if contact is None:
            verdict.add("I1", f"{contact_id} was accepted and never queued")
        elif stored["state"] != contact.state:
            verdict.add("I1", f"{contact_id}: intake says {stored['state']}, the log {contact.state}")
        elif stored["present_queue"] not in (None, contact.queue):
            verdict.add("I7", f"{contact_id}: intake says queue {stored['present_queue']}, the log {contact.queue}")


def _check_agents(history: History, model: dict[str, _Contact], verdict: Verdict) -> None:
    made = {
        (fact["contact_id"], fact["attempt"]): (fact["agent_id"], line.committed_ms)
        for line in history.log
        if line.type == "offer.made"
        for fact in (json.loads(line.body),)
    }
    for line in history.journals:
        if line["what"] == "offer_seen":
            offer = made.get((line["contact_id"], line["attempt"]))
            if offer is None or offer[0] != line["agent_id"]:
                verdict.add("I6", f"{line['agent_id']} saw an offer of {line['contact_id']} that was not made")
            elif _early_ms(line["at_ms"], offer[1], history):
                verdict.add("I6", f"{line['agent_id']} saw {line['contact_id']} before it was committed")
        elif line["what"] == "command_answered" and line["verb"] == "accept" and line["status"] == 200:
            contact = model.get(line["contact_id"])
            done = None if contact is None else contact.accepted_by.get(line["attempt"])
            if done != (line["agent_id"], line["command_id"]):
                verdict.add(
                    "I8",
                    f"{line['agent_id']} was told that {line['contact_id']}, attempt {line['attempt']}, is theirs;"
                    f" the log has {done}",
                )
