"""The history checker: replays the routing log in a naive model and compares it with what everybody else saw.

It shares no code with the routing core, and knows facts only as JSON: an oracle must not call what it judges.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from porchlight.history import History, Line

CLOCK_SLACK_MS = 2.0
"""Two processes of one machine may read its clock so far apart (milliseconds are cut, not rounded)."""
VIOLATIONS_MAX = 200
"""More are counted, not listed."""

AFTER = {  # fact type: (states before, state after)
    "contact.queued": ((None,), "queued"),
    "offer.made": (("queued",), "offered"),
    "offer.accepted": (("offered",), "assigned"),
    "offer.declined": (("offered",), "queued"),
    "offer.timed_out": (("offered",), "queued"),
    "offer.rescinded": (("offered",), "queued"),
    "contact.link_lost": (("assigned",), "link_lost"),
    "contact.link_restored": (("link_lost",), "assigned"),
    "contact.requeued": (("link_lost",), "queued"),
    "wrap_up.started": (("assigned",), "wrap_up"),
    "contact.completed": (("assigned", "link_lost", "wrap_up"), "completed"),
    "contact.abandoned": (("queued",), "abandoned"),
    "contact.cancelled": (("queued",), "cancelled"),
}
HOLDS = ("offered", "assigned", "link_lost", "wrap_up")
OVER = ("completed", "abandoned", "cancelled")


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
    state: str | None = None
    attempt: int = 0
    agent: str = ""
    units: int = 0
    accepted_by: dict[int, tuple[str, str]] = field(default_factory=dict)


def check(history: History, *, settled: bool = True) -> Verdict:
    """Verify I1 to I8. `settled`: nothing is under way any more, so every accepted contact must have been queued."""
    verdict = Verdict()
    model = _replay(history, verdict)
    _check_tables(history, model, verdict)
    _check_published(history, verdict)
    _check_accepted(history, model, verdict, settled=settled)
    _check_agents(history, model, verdict)
    verdict.looked_at = {
        "journal lines": len(history.journals),
        "log lines": len(history.log),
        "published records": len(history.published),
        "contacts": len(history.accepted),
        "assignments": len(history.assignments),
    }
    return verdict


def _replay(history: History, verdict: Verdict) -> dict[str, _Contact]:
    model: dict[str, _Contact] = defaultdict(_Contact)
    used: dict[str, int] = defaultdict(int)
    seq: dict[int, int] = defaultdict(int)
    epoch: dict[int, int] = defaultdict(int)
    for line in history.log:
        if line.seq != seq[line.shard] + 1:
            verdict.add("I4", f"shard {line.shard}: sequence {line.seq} after {seq[line.shard]}")
        if line.epoch < epoch[line.shard]:
            verdict.add("I4", f"shard {line.shard}, {line.seq}: epoch {line.epoch} wrote after {epoch[line.shard]}")
        seq[line.shard], epoch[line.shard] = line.seq, max(epoch[line.shard], line.epoch)
        if line.type in AFTER:
            _step(model, used, line, json.loads(line.body), history, verdict)
    for shard, last in history.last_seq.items():
        if seq[shard] != last:
            verdict.add("I7", f"shard {shard}: the lease says {last}, the log ends at {seq[shard]}")
    return model


def _step(
    model: dict[str, _Contact],
    used: dict[str, int],
    line: Line,
    fact: dict[str, Any],
    history: History,
    verdict: Verdict,
) -> None:
    contact = model[fact["contact_id"]]
    where = f"shard {line.shard}, {line.seq}: {line.type} of {fact['contact_id']}"
    before, after = AFTER[line.type]
    if contact.state not in before:
        double = line.type == "offer.made" and contact.state in HOLDS
        verdict.add("I2" if double else "I7", f"{where} in state {contact.state}")
    if line.type == "contact.queued":
        contact.units = fact["units"]
    elif line.type == "offer.made":
        if fact["attempt"] != contact.attempt + 1:
            verdict.add("I7", f"{where}: attempt {fact['attempt']} after {contact.attempt}")
        contact.attempt, contact.agent = fact["attempt"], fact["agent_id"]
        used[contact.agent] += contact.units
        if used[contact.agent] > history.units.get(contact.agent, 0):
            verdict.add("I3", f"{where}: {contact.agent} has {used[contact.agent]} units in use")
    elif "attempt" in fact:
        if fact["attempt"] != contact.attempt or fact["agent_id"] != contact.agent:
            verdict.add(
                "I8",
                f"{where}: by {fact['agent_id']}, attempt {fact['attempt']}; it is {contact.agent}'s,"
                f" attempt {contact.attempt}",
            )
        if line.type == "offer.accepted":
            contact.accepted_by[fact["attempt"]] = (fact["agent_id"], fact["command_id"])
    if after not in HOLDS and contact.agent:
        used[contact.agent] -= contact.units
        contact.agent = ""
    contact.state = after


def _check_tables(history: History, model: dict[str, _Contact], verdict: Verdict) -> None:
    for contact_id in sorted(set(model) | set(history.contacts)):
        row = history.contacts.get(contact_id)
        contact = model.get(contact_id)
        told = None if contact is None else (contact.state, contact.attempt, contact.agent)
        if row != told:
            verdict.add("I7", f"{contact_id}: the table says {row}, the log {told}")
    live: dict[str, tuple[int, str]] = {}
    for contact_id, attempt, agent, released in history.assignments:
        if released is not None:
            continue
        if contact_id in live:
            verdict.add("I2", f"{contact_id} has two live assignments: {live[contact_id]} and {(attempt, agent)}")
        live[contact_id] = (attempt, agent)
    held = {one: (c.attempt, c.agent) for one, c in model.items() if c.state in HOLDS}
    for contact_id in sorted(set(live) | set(held)):
        if live.get(contact_id) != held.get(contact_id):
            verdict.add("I2", f"{contact_id}: assigned {live.get(contact_id)}, by the log {held.get(contact_id)}")
    units: dict[str, int] = defaultdict(int)
    for agent, number, contact_id, attempt in history.units_used:
        units[contact_id] += 1
        if live.get(contact_id) != (attempt, agent):
            verdict.add(
                "I3", f"unit {number} of {agent} is taken by {contact_id}, attempt {attempt}, which is not live"
            )
    for contact_id in held:
        if units[contact_id] != model[contact_id].units:
            verdict.add("I3", f"{contact_id} takes {units[contact_id]} units, not {model[contact_id].units}")


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
            if record.sent_ms + CLOCK_SLACK_MS < line.committed_ms:
                early = line.committed_ms - record.sent_ms
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
        elif line["at_ms"] + CLOCK_SLACK_MS < stored["stored_ms"]:
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
            elif line["at_ms"] + CLOCK_SLACK_MS < offer[1]:
                verdict.add("I6", f"{line['agent_id']} saw {line['contact_id']} before it was committed")
        elif line["what"] == "command_answered" and line["verb"] == "accept" and line["status"] == 200:
            contact = model.get(line["contact_id"])
            done = None if contact is None else contact.accepted_by.get(line["attempt"])
            if done != (line["agent_id"], line["command_id"]):
                verdict.add(
                    "I8",
                    f"{line['agent_id']} was told that {line['contact_id']}, attempt {line['attempt']}, is hers;"
                    f" the log has {done}",
                )
