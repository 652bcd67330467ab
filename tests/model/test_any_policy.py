"""Any policies, any history: the invariants hold after every step, a twin decides the same, and so does a rebuilt state.

The onlooker here judges with the rows that PostgreSQL would have: it follows outputs only and calls nothing of the core.
"""

import hashlib
import random
from collections import defaultdict
from copy import deepcopy
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.contracts.policies import Need, QueuePolicy
from router.core import State, step
from router.core.index.state import set_timer
from router.core.invariants import check
from router.core.lifecycle.queue import relink_groups
from router.core.model import decisions, events
from router.core.model.agent import Agent
from router.core.model.contact import Contact
from router.core.model.decisions import RELEASES
from router.core.model.queue import Queue
from router.core.restore import restore
from router.policies.validation import Known, vet
from tests.support.builders import arrived, asked, queue, seen

PARTS: list[dict[str, Any]] = [
    {"order": {"method": "score"}},
    {"order": {"method": "slack", "newest_first": True}},
    {"order": {"method": "ratio", "share_percent": 40}},
    {"order": {"own_skill_first": True}},
    {"escalations": [{"after_ms": 4_000, "priority": 5}]},
    {"steps": [{"need": {"skill": "es", "min_level": 60}, "expires_ms": 3_000}]},
    {"steps": [{"need": {"agent": "a2"}, "expires_ms": 2_000, "even_unstaffed": True}]},
    {"sticky": [{"to": "last_agent", "wait_ms": 3_000}, {"to": "account_team", "wait_ms": 2_000}]},
    {"choice": {"method": "round_robin"}},
    {"choice": {"method": "least_loaded"}},
    {"choice": {"method": "most_skilled"}},
    {"choice": {"method": "best_fit", "weights": {"es": 2, "tax": 1}}},
    {"choice": {"method": "scorer", "scorer": "s", "budget_ms": 5}},
    {"micro_batch": {"window_ms": 100, "burst": 2}},
    {"capacity": {"units": {"chat": 3}, "interrupts": ["email"]}},
    {"capacity": {"exceed": True}},
    {"offers": {"parallel": 3, "strikes": 2}},
    {"offers": {"auto_accept": True, "first_response_ms": 5_000}},
    {"length_max": 2},
    {"ttl_ms": 9_000},
    {"overflow": [{"when": {"length_over": 1}, "queue": "other"}]},
    {"overflow": [{"when": {"waited_over_ms": 3_000}, "callback": True}]},
    {"overflow": [{"when": {"unstaffed": True}, "message": "nobody"}, {"when": {"all_busy": True}, "queue": "other"}]},
    {"overflow": [{"when": {"estimated_wait_over_ms": 200_000}, "message": "long"}]},
    {"overflow": [{"when": {"closed": True}, "message": "shut"}]},
    {
        "overflow": [
            {"when": {"closed": True}, "queue": "other"},
            {"when": {"waited_over_ms": 2_000}, "message": "slow"},
        ]
    },
    {"borrow": {"lender": "other", "when": {"length_over": 0}, "guard": {"length_over": 2}}},
    {"borrow": {"lender": "other", "when": {"longest_wait_over_ms": 2_000}}},
    {"borrow": {"lender": "other", "when": {"all_busy": True}, "guard": {"longest_wait_over_ms": 3_000}}},
    {"split": [{"queue": "other", "percent": 50}]},
    {"fair": {"offers": 2, "window_ms": 8_000}},
    {"home": {"expected_handle_ms": 2_000, "link_score_min": 50, "premium": False}},
    {"headroom": {"queue": "other", "agents": 1}},
    {"transfers_max": 2, "resume_hold_ms": 2_000},
]
HOLD_MAX_MS = 30_000
"""For so long capacity may be kept for a resume; then it is answered."""
AGENTS = ("a1", "a2", "a3", "a4")
CHANNELS = ("voice", "chat", "email")


def policy_of(source: random.Random) -> QueuePolicy:
    """Some parts together, as long as they can work."""
    said: dict[str, Any] = {}
    for part in source.sample(PARTS, source.randint(0, 5)):
        said.update(part)
    policy = msgspec.convert(said, QueuePolicy)
    known = Known(skills=None, queues={"other": QueuePolicy()}, scorers=frozenset({"s"}))
    return policy if vet("billing", policy.need, policy, known) == [] else QueuePolicy()


class Player:
    """Makes a history from a seed, led only by what was said so far."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.now_ms, self.number, self.version = 1_000, 0, 1
        self.seqs: dict[str, int] = defaultdict(int)
        self.sessions: dict[str, int] = defaultdict(lambda: 1)
        self.out: dict[tuple[str, int], str] = {}
        self.live: list[str] = []

    def begin(self) -> list[events.Input]:
        needs = (("other", 1),)
        return [
            events.QueueSet(queue=queue("other", requirements=needs)),
            events.QueueSet(queue=queue(policy_of_queue := "billing", wrap_up_ms=self.source.choice([0, 1_500]))),
            *(self.agent(name, "available") for name in AGENTS),
            events.QueueSet(queue=queue(policy_of_queue, version=2)),
        ]

    def agent(self, name: str, presence: str | None = None) -> events.Input:
        source = self.source
        self.seqs[name] += 1
        self.sessions[name] += source.random() < 0.1
        presence = presence or source.choice(["available", "available", "available", "break", "offline"])
        limits = {
            field: self.now_ms + source.randint(0, 9_000)
            for field in ("break_due_ms", "shift_ends_ms", "premium_from_ms", "denied_from_ms")
            if source.random() < 0.1
        }
        return seen(
            name,
            session_no=self.sessions[name],
            seq=self.seqs[name],
            presence=presence,
            skills=tuple(
                (skill, source.choice([20, 60, 90])) for skill in ("es", "other", "tax") if source.random() < 0.7
            ),
            units=source.choice([2, 6, 12]),
            attributes=(("team", "gold"),) if source.random() < 0.3 else (),
            channel_max=(("chat", 1),) if source.random() < 0.2 else (),
            link_score=source.choice([30, 100]),
            auto_accept=source.random() < 0.1,
            link_lost=presence == "offline",
            **limits,
        )

    def next(self) -> events.Input:
        source = self.source
        self.now_ms += source.choice([0, 1, 60, 500, 2_500])
        dice = source.random()
        if dice < 0.35:
            self.number += 1
            self.live.append(f"c{self.number:03d}")
            return arrived(
                self.live[-1],
                channel=source.choice(CHANNELS),
                priority=source.randint(0, 3),
                accepted_at_ms=self.now_ms - source.choice([0, 50]),
                requirements=(("es", 20),) if source.random() < 0.3 else (),
                customer=source.choice(["", "k1", "k2"]),
                last_agent=source.choice(["", "a1", "gone"]),
                account_team=source.choice(["", "gold"]),
                not_before_ms=self.now_ms + 2_000 if source.random() < 0.1 else None,
            )
        if dice < 0.5:
            return self.agent(source.choice(AGENTS))
        if dice < 0.8 and self.out:
            (contact_id, attempt), agent = source.choice(sorted(self.out.items()))
            verb = source.choice(
                ["accept", "accept", "decline", "respond", "pause", "resume", "transfer", "complete", "end_wrap_up"]
            )
            self.number += 1
            target = source.choice([{"to_queue": "other"}, {"to_agent": source.choice(AGENTS)}])
            own = source.choice([f"k{self.number}", f"{verb}-{contact_id}"])  # which another agent may choose as well
            return asked(
                verb,
                command_id=own,
                agent_id=agent,
                session_no=99,
                contact_id=contact_id,
                attempt=attempt,
                **(target if verb == "transfer" else {}),
            )
        if dice < 0.86 and self.live:
            return events.CancelAsked(
                contact_id=source.choice(self.live), reason=source.choice(["customer_gave_up", "withdrawn"])
            )
        if dice < 0.9 and self.live:
            self.number += 1
            wished = [name for name in self.out if self.out[name]]  # those that ring or are held, besides all others
            name = source.choice(self.live) if source.random() < 0.6 or not wished else source.choice(sorted(wished))[0]
            later = self.now_ms + source.choice([1_000, 3_000, 30_000]) if source.random() < 0.6 else None
            return events.CallbackAsked(contact_id=name, not_before_ms=later, requested_at_ms=self.number)
        if dice < 0.93 and self.live:
            scores = {name: source.randint(0, 9) for name in AGENTS}
            return events.ScoresGiven(contact_id=source.choice(self.live), scores=scores)
        if dice < 0.96:
            self.version += 1
            return events.QueueSet(queue=queue(version=self.version + 2, **_parts(policy_of(source))))
        if dice < 0.98:
            return events.QueueOpened(queue_id="billing", is_open=source.random() < 0.5)
        return events.Ticked()

    def hear(self, said: tuple[Any, ...]) -> None:
        for one in said:
            if isinstance(one, decisions.Offered):
                self.out[one.contact_id, one.attempt] = one.agent_id
            elif isinstance(one, RELEASES):
                self.out.pop((one.contact_id, one.attempt), None)


def _parts(policy: QueuePolicy) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in QueuePolicy.__struct_fields__ if name != "need"}


class Rows:
    """What PostgreSQL would refuse: two holders of a contact, a unit used twice, an end that is none."""

    def __init__(self) -> None:
        self.holder: dict[str, int] = {}
        self.units: dict[tuple[str, int], tuple[str, int]] = {}
        self.over: set[str] = set()

    def take(self, said: tuple[Any, ...]) -> None:
        for one in said:
            name = type(one).__name__
            contact_id = getattr(one, "contact_id", "")
            assert contact_id not in self.over or name == "Refused", f"{name} of {contact_id}, which is over"
            if name in ("Offered", "Resumed"):
                for number in one.unit_numbers:
                    assert (one.agent_id, number) not in self.units, f"unit {number} of {one.agent_id} is taken"
                    self.units[one.agent_id, number] = (contact_id, one.attempt)
            if name == "Accepted":
                assert contact_id not in self.holder, f"{contact_id} has two holders"
                self.holder[contact_id] = one.attempt
            if name in ("Declined", "TimedOut", "Rescinded", "Requeued", "Transferred", "Completed", "Paused"):
                self.units = {unit: of for unit, of in self.units.items() if of != (contact_id, one.attempt)}
            if name in ("Requeued", "Transferred", "Completed"):
                assert self.holder.pop(contact_id) == one.attempt
            if name in ("Completed", "Abandoned", "Cancelled", "Expired", "Overflowed"):
                self.over.add(contact_id)


class Promises:
    """What was said to customers and agents: an onlooker who knows inputs and outputs only."""

    def __init__(self) -> None:
        self.here: set[str] = set()
        self.held: set[str] = set()
        self.promised: dict[str, str] = {}
        self.asked: set[tuple[str, str]] = set()
        self.answered: set[tuple[str, str]] = set()

    def take(self, told: events.Input, said: tuple[Any, ...]) -> None:
        waited = self.here - self.held
        for one in said:
            name, contact_id = type(one).__name__, getattr(one, "contact_id", "")
            if name in ("Queued", "Scheduled"):
                self.here.add(contact_id)
            if name in ("Scheduled", "CallbackArranged", "Accepted"):
                self.promised[contact_id] = name
            if name == "Accepted":
                self.held.add(contact_id)
            if name in ("Requeued", "Transferred"):
                self.held.discard(contact_id)
            if name in ("Completed", "Abandoned", "Cancelled", "Expired", "Overflowed"):
                self.here.discard(contact_id)
                self.held.discard(contact_id)
            assert name != "Overflowed" or contact_id not in self.promised, f"{contact_id} is turned away"
            assert name != "Expired" or self.promised.get(contact_id, "Scheduled") == "Scheduled", (
                f"{contact_id} is given up"
            )
            if getattr(one, "command_id", ""):
                self.answered.add((one.agent_id, one.command_id))
        if isinstance(told, events.AgentAsked):
            self.asked.add((told.agent_id, told.command_id))
        if isinstance(told, events.CallbackAsked) and told.contact_id in waited & self.here - self.held:
            granted = [one for one in said if isinstance(one, decisions.CallbackArranged)]
            wish = (told.contact_id, told.requested_at_ms)
            assert wish in [(one.contact_id, one.requested_at_ms) for one in granted], f"{wish} is not granted"


class Onlookers:
    """All that judge a history."""

    def __init__(self) -> None:
        self.rows, self.promises, self.abilities = Rows(), Promises(), Abilities()

    def take(self, told: events.Input, said: tuple[Any, ...]) -> None:
        self.rows.take(said)
        self.promises.take(told, said)
        self.abilities.take(told, said)


class Abilities:
    """Who may be asked: an onlooker who knows inputs and outputs only.

    An agent meets what the queue asks, or what the queue asks from whom it may borrow; and in any case what the contact itself
    asks, and its present step. What is due happens before what is told: an offer may be right by what was known till then.
    """

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.pictures: dict[str, events.AgentSeen] = {}
        self.asks: dict[str, events.ContactArrived] = {}
        self.at: dict[str, tuple[str, str, int]] = {}

    def take(self, told: events.Input, said: tuple[Any, ...]) -> None:
        before = self.queues, self.pictures
        if isinstance(told, events.QueueSet):
            queue = self.queues.get(told.queue.queue_id)
            if queue is None or queue.version < told.queue.version:
                self.queues = {**self.queues, told.queue.queue_id: told.queue}
        elif isinstance(told, events.AgentSeen):
            picture = self.pictures.get(told.agent_id)
            if picture is None or (picture.session_no, picture.seq) < (told.session_no, told.seq):
                self.pictures = {**self.pictures, told.agent_id: told}
        elif isinstance(told, events.ContactArrived):
            self.asks.setdefault(told.contact_id, told)
        for one in said:
            name, contact_id = type(one).__name__, getattr(one, "contact_id", "")
            if name in ("Queued", "Moved", "Transferred"):
                named = one.to_agent if name == "Transferred" else self.at.get(contact_id, ("", "", 0))[1]
                self.at[contact_id] = (one.queue_id, named, 0)
            elif name in ("StepJoined", "StepSkipped", "StepExpired"):
                place = one.step - 1 if name == "StepJoined" else one.step
                self.at[contact_id] = (*self.at[contact_id][:2], place)
            elif name == "Offered":
                able = any(
                    self.may(one.agent_id, contact_id, *known) for known in (before, (self.queues, self.pictures))
                )
                assert able, f"{contact_id} is offered to {one.agent_id}, who is not able"

    def may(
        self, agent_id: str, contact_id: str, queues: dict[str, Queue], pictures: dict[str, events.AgentSeen]
    ) -> bool:
        queue_id, named, place = self.at[contact_id]
        queue, contact, agent = queues[queue_id], self.asks[contact_id], pictures[agent_id]
        borrow = queue.policy.borrow
        lender = None if borrow is None else queues.get(borrow.lender)
        own = all(dict(agent.skills).get(skill, -1) >= level for skill, level in contact.requirements)
        steps = self.steps(queue, contact, named)
        return (
            own
            and (meets(queue.need, agent) or (lender is not None and meets(lender.need, agent)))
            and (place >= len(steps) or meets(steps[place], agent))
        )

    def steps(self, queue: Queue, contact: events.ContactArrived, named: str) -> list[Need]:
        """Whom the contact knows, in the queue's order, then the queue's steps; who is named goes first where it says nothing."""
        known = {
            "last_agent": Need(agent=contact.last_agent) if contact.last_agent else None,
            "account_team": Need(attribute="team", value=contact.account_team) if contact.account_team else None,
            "named_agent": Need(agent=named) if named else None,
        }
        kinds = [one.to for one in queue.policy.sticky]
        sticky = [known[kind] for kind in (kinds if "named_agent" in kinds else ["named_agent", *kinds])]
        return [*(need for need in sticky if need is not None), *(step.need for step in queue.policy.steps)]


def meets(need: Need, agent: events.AgentSeen) -> bool:
    """Of what policies here ask: a skill, a name, an attribute."""
    return (
        (not need.skill or dict(agent.skills).get(need.skill, -1) >= need.min_level)
        and need.agent in ("", agent.agent_id)
        and (not need.attribute or (need.attribute, need.value) in agent.attributes)
    )


REBUILT_AFTER = 90
"""Inputs after which a history's state is rebuilt from what is kept."""


def judges_estimates(state: State) -> bool:
    """Whether a queue turns contacts away by estimated waits. A rebuilt state estimates a little otherwise, for it does not know
    kinds of contacts and agents that are gone: such histories are compared until they are rebuilt, and not afterwards."""
    rules = [rule for queue in state.queues.values() for rule in queue.policy.overflow]
    return any(rule.when.estimated_wait_over_ms is not None for rule in rules)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**9))
def test_any_history_under_any_policies_keeps_the_invariants(seed: int) -> None:
    player, onlookers = Player(seed), Onlookers()
    state, twin = State(), State()
    told = player.begin()
    is_alike = True
    for number in range(140):
        one = told.pop(0) if told else player.next()
        said = step(state, one, player.now_ms)
        check(state)
        onlookers.take(one, said)
        player.hear(said)
        is_alike = is_alike and not (number > REBUILT_AFTER and judges_estimates(state))
        again = step(twin, one, player.now_ms) if is_alike else ()
        assert not is_alike or without_denials(again) == without_denials(said), "a twin decided otherwise"
        state.to_score.clear()
        twin.to_score.clear()
        if number == REBUILT_AFTER:
            twin = rebuilt(state)
            state.dirty_queues.update(twin.dirty_queues)  # a rebuilt state looks at every queue with rules
            for one_of_them in (state, twin):
                one_of_them.judged_ms.clear()
            said = step(state, events.Ticked(), player.now_ms)
            again = step(twin, events.Ticked(), player.now_ms)
            assert without_denials(again) == without_denials(said), "a rebuilt state decided otherwise"
            onlookers.take(events.Ticked(), said)
            player.hear(said)
    onlookers.take(events.Ticked(), step(state, events.Ticked(), player.now_ms + HOLD_MAX_MS))
    promises = onlookers.promises
    assert promises.asked == promises.asked & promises.answered, "a command is never answered"


def without_denials(said: tuple[Any, ...]) -> list[Any]:
    """Without denials, which a rebuilt state may say at another time: they change nothing."""
    return [one for one in said if not isinstance(one, decisions.OfferDenied)]


def rebuilt(state: State) -> State:
    """Through the bytes that are kept; what only memory knows is carried over, as the shell does or time does."""
    again = restore(
        queues=list(state.queues.values()),
        agents=[msgspec.json.decode(msgspec.json.encode(one), type=Agent) for one in state.agents.values()],
        contacts=[
            msgspec.json.decode(msgspec.json.encode(one), type=Contact) for _, one in sorted(state.contacts.items())
        ],
        ended=dict(state.ended),
        now_ms=state.now_ms,
    )
    check(again)
    again.closed, again.handlings, again.lessons = set(state.closed), deepcopy(state.handlings), deepcopy(state.lessons)
    again.told, again.tell_next_ms = dict(state.told), dict(state.tell_next_ms)
    again.judged_ms = dict(state.judged_ms)
    for due_ms, kind, name in state.timers:
        if kind == "queue" and name in state.to_judge:
            again.to_judge[name] = None
            set_timer(again, due_ms, kind, name)
    again.borrowing, again.arrivals = set(state.borrowing), {pool: list(at) for pool, at in state.arrivals.items()}
    for key, group in state.groups.items():
        if key in again.groups:
            again.groups[key].held_until_ms = group.held_until_ms
            if group.held_until_ms is not None:
                set_timer(again, group.held_until_ms, "queue", group.queue_id)
    for queue_id in again.borrowing:
        relink_groups(again, queue_id)
    return again


def digest(seeds: int) -> str:
    """A fingerprint of every decision of many histories; `make test-compiled` compares those of both builds of the core."""
    said = hashlib.sha256()
    for seed in range(seeds):
        player, state = Player(seed), State()
        for told in player.begin():
            step(state, told, player.now_ms)
        for _ in range(150):
            decided = step(state, player.next(), player.now_ms)
            said.update(msgspec.json.encode(decided))
            player.hear(decided)
    return said.hexdigest()
