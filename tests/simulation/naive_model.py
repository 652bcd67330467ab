"""The auditor's own naive model of a centre: every commit of the router applied to it, and judged. It shares no code with what
it judges and knows facts by their contracts alone.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from common.contracts import codec, config, contacts, routing
from common.contracts.agents import AgentCommand, AgentPicture
from common.contracts.topics import AGENTS, CONFIG, CONTACTS
from common.runtime.bus import Place
from tests.simulation.world import Commit, World

UNITS = {"voice": 6, "callback": 6, "screen_share": 6, "chat": 2, "social": 2, "sms": 1, "email": 1}
OVER = ("completed", "abandoned", "cancelled", "expired", "overflowed")
HELD = ("assigned", "paused", "link_lost", "wrap_up")
WAITING = ("queued", "offered", "scheduled")
AFTER: dict[type[Any], tuple[tuple[str | None, ...], str]] = {
    routing.ContactScheduled: ((None,), "scheduled"),
    routing.ContactQueued: ((None, "scheduled"), "queued"),
    routing.ContactMoved: (("queued",), "queued"),
    routing.ContactEscalated: (("queued",), "queued"),
    routing.CallbackArranged: (("queued", "scheduled"), "queued"),
    routing.OfferMade: (("queued", "offered"), "offered"),
    routing.OfferAccepted: (("offered",), "assigned"),
    routing.OfferDeclined: (("offered",), "queued"),
    routing.OfferTimedOut: (("offered",), "queued"),
    routing.OfferRescinded: (("offered",), "queued"),
    routing.ContactResponded: (("assigned",), "assigned"),
    routing.ContactPaused: (("assigned",), "paused"),
    routing.ContactResumed: (("paused",), "assigned"),
    routing.LinkLost: (("assigned", "paused"), "link_lost"),
    routing.LinkRestored: (("link_lost",), "assigned"),
    routing.ContactRequeued: (("assigned", "link_lost"), "queued"),
    routing.ContactTransferred: (("assigned", "paused"), "queued"),
    routing.WrapUpStarted: (("assigned",), "wrap_up"),
    routing.ContactCompleted: (HELD, "completed"),
    routing.ContactAbandoned: (("queued", "scheduled"), "abandoned"),
    routing.ContactCancelled: (("queued", "scheduled"), "cancelled"),
    routing.ContactExpired: (("queued", "scheduled"), "expired"),
    routing.ContactOverflowed: (("queued",), "overflowed"),
}


@dataclass(slots=True)
class Stay:
    """One agent has a contact before it, as an offer or as its own."""

    agent_id: str
    attempt: int
    channel: str
    units: int
    made_s: float


@dataclass(slots=True)
class Life:
    """A contact, as its facts tell it."""

    contact_id: str
    state: str | None = None
    queue: str = ""
    channel: str = ""
    priority: int = 0
    age_ms: int = 0
    needs: tuple[tuple[str, int], ...] = ()
    offers: dict[int, Stay] = field(default_factory=dict)
    held: Stay | None = None
    attempt: int = 0
    attempts: int = 0
    answered: bool = False
    since_s: float = 0.0
    was_paused: bool = False
    asked: set[str] = field(default_factory=set)
    callback_owed_s: float | None = None
    callback_granted_ms: int = 0
    passed_to: str = ""

    @property
    def stays(self) -> list[Stay]:
        """Everybody who has it before them."""
        return [*self.offers.values(), *([self.held] if self.held is not None else [])]


@dataclass(slots=True)
class Model:
    """What the auditor believes, and what it found wrong."""

    lives: dict[str, Life] = field(default_factory=dict)
    pictures: dict[tuple[int, str], list[AgentPicture]] = field(default_factory=lambda: defaultdict(list))
    queues: dict[str, list[config.QueueDefined]] = field(default_factory=lambda: defaultdict(list))
    read_queues: dict[str, int] = field(default_factory=dict)
    read_queues_before: dict[str, int] = field(default_factory=dict)
    commands: dict[tuple[str, str], AgentCommand] = field(default_factory=dict)
    standings: dict[str, routing.AgentRoutingChanged] = field(default_factory=dict)
    accepted: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)
    answers: dict[tuple[str, str], str] = field(default_factory=dict)
    timed_out: list[tuple[float, Stay, str]] = field(default_factory=list)
    found: list[str] = field(default_factory=list)

    def wrong(self, promise: str, text: str) -> None:
        """A promise that does not hold."""
        self.found.append(f"{promise}: {text}")

    def life(self, contact_id: str) -> Life:
        """A contact; new ones are nothing yet."""
        return self.lives.setdefault(contact_id, Life(contact_id))

    def versions(self, queue: str) -> list[config.QueueDefined]:
        """How the queue may be at the moment: as read before this batch, since what came before it in the batch was decided by that,
        or newer (a rebuild reads the table)."""
        read = self.read_queues_before.get(queue, 0)
        return [one for one in self.queues[queue] if one.version >= read]

    def work_of(self, agent_id: str) -> list[tuple[Life, Stay]]:
        """Everything that the agent has before it."""
        return [(life, stay) for life in self.lives.values() for stay in life.stays if stay.agent_id == agent_id]


def replay(world: World) -> Model:
    """The whole history, commit by commit."""
    model = Model()
    places: dict[Place, list[Any]] = defaultdict(list)
    for stored in world.bus.history:
        record = stored.record
        places[Place(topic=record.topic, partition=record.partition)].append(record.fact)
        if isinstance(record.fact, config.QueueDefined):
            model.queues[record.fact.queue].append(record.fact)
    log: dict[int, int] = defaultdict(int)
    epoch: dict[int, int] = defaultdict(int)
    for commit in world.commits:
        _read_inputs(model, commit, places)
        for line in commit.batch.log:
            if line.seq != log[commit.shard] + 1:
                model.wrong("I4", f"shard {commit.shard}: {line.seq} was written after {log[commit.shard]}")
            if commit.epoch < epoch[commit.shard]:
                model.wrong("I4", f"shard {commit.shard}: epoch {commit.epoch} wrote after {epoch[commit.shard]}")
            log[commit.shard], epoch[commit.shard] = line.seq, max(epoch[commit.shard], commit.epoch)
            fact = codec.decode(line.type, line.body.encode())
            _apply(model, commit, fact)
        _forget_old_pictures(model, commit)
    return model


def _read_inputs(model: Model, commit: Commit, places: dict[Place, list[Any]]) -> None:
    """What the router read for this batch: pictures of agents, queues, commands, what customers ask for."""
    model.read_queues_before = dict(model.read_queues)
    for place, end in commit.read_after.items():
        for fact in places[place][commit.read_before.get(place, 0) : end]:
            if place.topic == AGENTS.name and isinstance(fact, AgentPicture):
                model.pictures[commit.shard, fact.agent_id].append(fact)
            elif place.topic == AGENTS.name and isinstance(fact, AgentCommand):
                model.commands.setdefault((fact.agent_id, fact.command_id), fact)
            elif place.topic == CONFIG.name and isinstance(fact, config.QueueDefined):
                model.read_queues[fact.queue] = max(fact.version, model.read_queues.get(fact.queue, 0))
            elif place.topic == CONTACTS.name and isinstance(fact, contacts.ContactSubmitted):
                life = model.life(fact.contact_id)
                life.needs = tuple((one.skill, one.min_level) for one in fact.requirements)
            elif place.topic == CONTACTS.name and isinstance(fact, contacts.CallbackRequested):
                life = model.life(fact.contact_id)
                if life.state in WAITING and fact.requested_at_ms > life.callback_granted_ms:
                    life.callback_owed_s = commit.at_s


def _forget_old_pictures(model: Model, commit: Commit) -> None:
    for (shard, _), pictures in model.pictures.items():
        if shard == commit.shard and len(pictures) > 1:
            pictures[:] = [max(pictures, key=lambda one: (one.session_no, one.seq))]


def _apply(model: Model, commit: Commit, fact: Any) -> None:
    if isinstance(fact, routing.AgentRoutingChanged):
        model.standings[fact.agent_id] = fact
    elif isinstance(fact, routing.CommandRefused):
        model.answers.setdefault((fact.agent_id, fact.command_id), fact.detail or fact.reason)
    if not isinstance(fact, routing.RoutingFactBase) or type(fact) not in AFTER:
        return
    life = model.life(fact.contact_id)
    before, after = AFTER[type(fact)]
    what = f"{codec.type_of(fact)} of {fact.contact_id} at {commit.at_s:.3f}"
    if life.state not in before:
        model.wrong("I2", f"{what} in state {life.state}")
    _check_command(model, fact, what)
    match fact:
        case routing.ContactQueued() | routing.ContactScheduled():
            life.channel, life.priority = fact.channel, fact.priority
            life.age_ms = getattr(fact, "routing_age_at_ms", fact.accepted_at_ms)
        case routing.ContactEscalated():
            life.priority = fact.priority
        case routing.OfferMade():
            _check_offer(model, commit, life, fact, what)
            if life.state == "queued" and (life.callback_owed_s or commit.at_s) < commit.at_s:
                model.wrong("I1", f"{what}: the callback asked by {life.callback_owed_s:.3f} was dropped")
            life.attempt = fact.attempt
            life.attempts += 1
            life.asked.add(fact.agent_id)
            life.offers[fact.attempt] = Stay(fact.agent_id, fact.attempt, fact.channel, fact.units, commit.at_s)
        case routing.OfferAccepted():
            _accept(model, life, fact, what)
        case routing.OfferDeclined() | routing.OfferTimedOut() | routing.OfferRescinded():
            stay = life.offers.pop(fact.attempt, None)
            if stay is None or stay.agent_id != fact.agent_id:
                model.wrong("I8", f"{what}: that offer was not out")
            elif isinstance(fact, routing.OfferTimedOut):
                model.timed_out.append((commit.at_s, stay, fact.contact_id))
            after = "offered" if life.offers else "queued"
        case routing.CallbackArranged():
            life.channel, life.callback_owed_s = "callback", None
            life.callback_granted_ms = max(life.callback_granted_ms, fact.requested_at_ms)
            after = "queued" if fact.due_ms is None else "scheduled"
        case _:
            after = _apply_to_held(model, commit, life, fact, what, after)
    if after in OVER:
        life.offers.clear()
        life.held = None
    if after in HELD or after in OVER:
        life.callback_owed_s = None
    if (after, fact.queue) != (life.state, life.queue):
        life.since_s = commit.at_s
    life.state, life.queue = after, fact.queue


def _apply_to_held(model: Model, commit: Commit, life: Life, fact: Any, what: str, after: str) -> str:
    """Facts about a contact that is with an agent."""
    if hasattr(fact, "attempt"):
        if life.held is None or (life.held.agent_id, life.held.attempt) != (fact.agent_id, fact.attempt):
            model.wrong("I8", f"{what} by {fact.agent_id}, and {life.held} holds it")
            return after
        match fact:
            case routing.ContactPaused():
                life.held.units, life.was_paused = 0, True
            case routing.ContactResumed():
                life.held.units, life.was_paused = fact.units, False
                _check_capacity(model, commit, life, life.held, what)
            case routing.LinkRestored():
                return "paused" if life.was_paused else "assigned"
            case routing.ContactRequeued():
                life.held = None
            case routing.ContactTransferred():
                life.held, life.passed_to = None, fact.to_agent
    return after


def _accept(model: Model, life: Life, fact: routing.OfferAccepted, what: str) -> None:
    stay = life.offers.pop(fact.attempt, None)
    if stay is None or stay.agent_id != fact.agent_id:
        model.wrong("I8", f"{what}: {fact.agent_id} had no such offer")
        stay = Stay(fact.agent_id, fact.attempt, life.channel, 0, 0.0)
    if life.held is not None:
        model.wrong("I2", f"{what}: {life.held.agent_id} holds it already")
    model.accepted[fact.contact_id, fact.attempt] = (fact.agent_id, fact.command_id)
    life.held, life.answered, life.was_paused = stay, True, False


def _check_command(model: Model, fact: Any, what: str) -> None:
    """What an agent's command did is what that agent asked for."""
    command_id, agent_id = getattr(fact, "command_id", ""), getattr(fact, "agent_id", "")
    if not command_id:
        return
    asked = model.commands.get((agent_id, command_id))
    if asked is None or asked.contact_id != fact.contact_id or asked.attempt != fact.attempt:
        model.wrong("I8", f"{what}: {agent_id} did not ask for it ({command_id})")
    model.answers.setdefault((agent_id, command_id), "done")


def _check_offer(model: Model, commit: Commit, life: Life, fact: routing.OfferMade, what: str) -> None:
    versions = model.versions(fact.queue)
    pictures = model.pictures[commit.shard, fact.agent_id]
    if fact.attempt != life.attempt + 1:
        model.wrong("I6", f"{what}: attempt {fact.attempt} after {life.attempt}")
    if not any(one.session_no == fact.session_no and one.presence == "available" for one in pictures):
        model.wrong("I9", f"{what} to {fact.agent_id}, who is not there in session {fact.session_no}")
    if fact.units not in {units_of(one, fact.channel) for one in versions}:
        model.wrong(
            "I3", f"{what} takes {fact.units} units; the queue {fact.queue} says {versions[-1].policy.capacity}"
        )
    if len(life.offers) >= max(one.policy.offers.parallel for one in versions):
        model.wrong("I12", f"{what}: {len(life.offers)} others are out")
    if fact.agent_id != life.passed_to and not any(
        is_able(model, life, one, queue) for one in pictures for queue in versions
    ):
        model.wrong("I11", f"{what} to {fact.agent_id}, who cannot serve it: {life.needs}, {versions[-1].requirements}")
    for one in pictures[-1:]:
        most = one.channel_max.get(fact.channel)
        same = [stay for _, stay in model.work_of(fact.agent_id) if stay.channel == fact.channel and stay.units]
        if most is not None and len(pictures) == 1 and len(same) >= most:
            model.wrong("I12", f"{what} is one {fact.channel} too many for {fact.agent_id}")
    _check_order(model, commit, life, fact, what)
    stay = Stay(fact.agent_id, fact.attempt, fact.channel, fact.units, commit.at_s)
    _check_capacity(model, commit, life, stay, what)


def _check_capacity(model: Model, commit: Commit, life: Life, stay: Stay, what: str) -> None:
    """With this contact the agent is within its units; channels that may be interrupted do not count."""
    versions = model.versions(life.queue)
    if any(one.policy.capacity.exceed for one in versions):
        return
    pictures = model.pictures[commit.shard, stay.agent_id]
    most = max((one.units for one in pictures), default=0)
    interrupts = [set(one.policy.capacity.interrupts) for one in versions] or [set()]
    others = [(one, had) for one, had in model.work_of(stay.agent_id) if one is not life]
    used = min(sum(had.units for _, had in others if had.channel not in allowed) for allowed in interrupts)
    if used + stay.units > most:
        having = {one.contact_id[-6:]: had.units for one, had in others}
        model.wrong("I3", f"{what}: {stay.agent_id} has {most} units, {having} and now {stay.units} more")


SCORES_LATE_S = 0.5
"""A clock that runs fast or slow, and the turn in which the end of the budget is noticed."""


def _check_order(model: Model, commit: Commit, life: Life, fact: routing.OfferMade, what: str) -> None:
    """In a plain queue who came first of those who ask for the same goes first; who waits for scores is passed over."""
    scores_s = 0.0
    for one in model.versions(fact.queue):
        policy = one.policy
        if policy.choice.method == "scorer":
            scores_s = max(scores_s, policy.choice.budget_ms / 1_000 + SCORES_LATE_S)
        if policy.micro_batch or policy.offers.parallel > 1 or policy.escalations or policy.borrow or policy.overflow:
            return
    for other in model.lives.values():
        if (other.state, other.queue, other.channel, other.needs) != (
            "queued",
            fact.queue,
            fact.channel,
            life.needs,
        ) or other is life:
            continue
        first = (-other.priority, other.age_ms, other.contact_id) < (-life.priority, life.age_ms, life.contact_id)
        if first and other.since_s < commit.at_s - scores_s and fact.agent_id not in other.asked and other.attempt == 0:
            model.wrong("I11", f"{what} before {other.contact_id}, which goes first")


def is_able(model: Model, life: Life, picture: AgentPicture, queue: config.QueueDefined) -> bool:
    """Skills of the contact in any case, and of the queue or of the one that it borrows from."""
    if not _meets(picture, life.needs):
        return False
    borrow = queue.policy.borrow
    asking = [queue, *(() if borrow is None else model.versions(borrow.lender))]
    return any(_meets(picture, [(one.skill, one.min_level) for one in which.requirements]) for which in asking)


def _meets(picture: AgentPicture, needs: Any) -> bool:
    return all(picture.skills.get(skill, -1) >= level for skill, level in needs)


def units_of(queue: config.QueueDefined, channel: str) -> int:
    """Units that a contact of the channel takes in the queue."""
    return queue.policy.capacity.units.get(channel) or UNITS[channel]
