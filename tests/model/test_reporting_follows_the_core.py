"""Reporting's rows beside the core that made the facts: after every step they say the same about every live contact."""

from random import Random

from common.contracts import routing
from common.contracts.policies import Capacity, Condition, Offers, Overflow
from reporting.domain import Folded, begin, fold
from router.core import State, step
from router.core.model import events
from router.core.model.contact import Contact, ContactState
from router.translate import fact_from
from tests.support.builders import arrived, asked, queue, seen

KIND = {
    ContactState.SCHEDULED: "scheduled",
    ContactState.QUEUED: "queue",
    ContactState.OFFERED: "queue",
    ContactState.ASSIGNED: "agent",
    ContactState.WRAP_UP: "agent",
    ContactState.PAUSED: "paused",
}
VERBS = ("accept", "accept", "accept", "decline", "respond", "pause", "resume", "transfer", "complete", "end_wrap_up")


class Walk:
    """A pool that anything happens to."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)
        self.state, self.rows = State(), dict[str, Folded]()
        self.now_ms, self.number, self.seq = 1_000, 0, 0
        self.ends: set[tuple[str, str]] = set()
        overflow = (Overflow(when=Condition(length_over=2), queue="second"),)
        quick = Offers(first_response_ms=6_000, parallel=2)
        first = queue("first", wrap_up_ms=3_000, link_grace_ms=4_000, overflow=overflow, ttl_ms=60_000)
        second = queue("second", offers=quick, capacity=Capacity(units={"voice": 4}), link_grace_ms=4_000)
        for one in (first, second):
            self.tell(events.QueueSet(queue=one))

    def tell(self, told: events.Input) -> None:
        for output in step(self.state, told, self.now_ms):
            fact = fact_from(output, at_ms=self.now_ms)
            if not isinstance(fact, routing.RoutingFactBase):
                continue
            name = fact.contact_id
            if name in self.rows:
                self.rows[name] = after = fold(self.rows[name], fact)
                if after.closed is not None:
                    self.ends.add((after.closed.kind, after.closed.end_reason))
            else:
                assert isinstance(fact, (routing.ContactQueued, routing.ContactScheduled)), fact
                self.rows[name] = begin(fact)

    def happen(self) -> None:
        draw = self.draw
        self.now_ms += draw.choice([0, 0, 10, 200, 1_000, 9_000])
        live = sorted(self.state.contacts)
        what = draw.random()
        if what < 0.2 or not live:
            self.number += 1
            later = draw.choice([None, None, self.now_ms + 5_000])
            channel, to = draw.choice(["voice", "chat", "email"]), draw.choice(["first", "second"])
            name = f"c{self.number:03d}"
            self.tell(arrived(name, queue_id=to, channel=channel, accepted_at_ms=self.now_ms, not_before_ms=later))
        elif what < 0.3:
            agent, presence = draw.choice(["ann", "bob"]), draw.choice(["available"] * 4 + ["away", "offline"])
            self.seq += 1
            self.tell(seen(agent, seq=self.seq, presence=presence, link_lost=presence == "offline"))
        elif what < 0.36:
            name = draw.choice(live)
            if draw.random() < 0.5:
                self.tell(events.CancelAsked(contact_id=name, reason=draw.choice(["customer_gave_up", "withdrawn"])))
            else:
                self.tell(events.CallbackAsked(contact_id=name, not_before_ms=draw.choice([None, self.now_ms + 7_000])))
        else:
            with_agents = [one for one in live if self.state.contacts[one].agent_id]
            self.command(self.state.contacts[draw.choice(with_agents or live)])

    def command(self, contact: Contact) -> None:
        self.number += 1
        offer = contact.holding or (contact.offers[0] if contact.offers else None)
        if offer is None:
            return
        about = {"agent_id": offer.agent_id, "contact_id": contact.contact_id, "attempt": offer.attempt}
        verb = self.draw.choice(VERBS)
        where = {"to_queue": self.draw.choice(["first", "second"])} if verb == "transfer" else {}
        self.tell(asked(verb, command_id=f"k{self.number}", **about, **where))

    def compare(self) -> None:
        for name, row in self.rows.items():
            contact = self.state.contacts.get(name)
            if contact is None:
                assert row.open is None and row.contact.ended_at_ms is not None, row
                continue
            assert row.open is not None, row
            assert (row.contact.state, row.open.queue) == (contact.state, contact.queue_id)
            if contact.state is not ContactState.LINK_LOST:
                assert row.open.kind == KIND[contact.state]
        assert set(self.state.contacts) <= set(self.rows)
        for agent in self.state.agents.values():
            held = [row.open for row in self.rows.values() if row.open and row.open.agent_id == agent.agent_id]
            pending = [
                len(offer.unit_numbers)
                for contact in self.state.contacts.values()
                for offer in contact.offers
                if offer.agent_id == agent.agent_id
            ]
            assert sum(one.units for one in held) + sum(pending) == agent.used_units


def test_each_live_contact_waits_or_is_held_in_both() -> None:
    ends = set()
    for seed in range(12):
        walk = Walk(seed)
        for _ in range(400):
            walk.happen()
            walk.compare()
        ends |= walk.ends

    agent = {("agent", why) for why in ("completed", "transferred", "paused", "link_lost", "no_first_response")}
    waiting = {
        ("queue", why) for why in ("answered", "customer_gave_up", "withdrawn", "overflow", "callback", "expired")
    }
    assert ends >= agent | waiting | {("paused", "resumed"), ("scheduled", "due"), ("scheduled", "withdrawn")}
