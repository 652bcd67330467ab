"""A queue's routing policy: values only, the same words on the wire, in the administrators' API and in the core.

Every part has a default that does nothing special. Times are milliseconds unless a name says otherwise.
"""

from typing import Any, Literal

import msgspec

OVERFLOW_RULES_MAX = 16
STEPS_MAX = 16
PARALLEL_MAX = 50


class Need(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, cache_hash=True):
    """What an agent must be. Everything that is given must hold; nothing given: anybody will do.

    `skill` with `min_level` and `max_level` (0 to 100), `language`, `region`, `attribute` with its `value`, one named
    `agent`; `all`, `any` and `not` combine needs, and an empty `any` means that no choice is asked for.
    """

    skill: str = ""
    min_level: int = 0
    max_level: int = 100
    language: str = ""
    region: str = ""
    attribute: str = ""
    value: str = ""
    agent: str = ""
    all: tuple["Need", ...] = ()
    any: tuple["Need", ...] = ()
    not_: "Need | None" = msgspec.field(default=None, name="not")


ANYBODY = Need()
"""The need that everybody meets."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a policy: frozen, without unknown fields; what equals its default is not written."""


class Order(Part, frozen=True, kw_only=True):
    """Which contact goes first. The key of a contact at a moment is (level, score, routing age, id), higher first.

    `priority`: level = the contact's priority, score = seconds waited. `score`: level = 0, score = priority times
    `points_per_priority` plus seconds waited times `points_per_second`. `slack`: level = priority, score = seconds waited
    minus the queue's service level, so the least time left goes first. `ratio`: level = priority, score = how far the
    queue is above `share_percent` of all contacts that wait in queues with this method. `newest_first` (LIFO) counts the
    seconds waited as negative; priority still comes first. `own_skill_first`: an agent who becomes free takes first what
    it is best at (its level in the queue's first skill), and only then what comes first.
    """

    method: Literal["priority", "score", "slack", "ratio"] = "priority"
    points_per_priority: int = 60
    points_per_second: int = 1
    share_percent: int = 0
    newest_first: bool = False
    own_skill_first: bool = False


class Escalation(Part, frozen=True, kw_only=True):
    """After waiting for `after_ms` in the queue the contact's priority is at least `priority`."""

    after_ms: int
    priority: int


class Step(Part, frozen=True, kw_only=True):
    """For `expires_ms` only agents with this `need`, besides the queue's and the contact's own needs.

    A step that no signed-in agent could serve is skipped, unless `even_unstaffed`.
    """

    need: Need
    expires_ms: int
    even_unstaffed: bool = False


class Sticky(Part, frozen=True, kw_only=True):
    """The contact waits up to `wait_ms` longer for whom it knows, while that agent is signed in."""

    to: Literal["last_agent", "account_team", "named_agent"]
    wait_ms: int


class Choice(Part, frozen=True, kw_only=True):
    """Which of several able agents is asked. `longest_idle`: who has less in hand first, then who has been idle longest; ties
    of the others go to that agent too, then to the smaller id.

    `best_fit` adds up the agent's skill levels times `weights`; `scorer` names a function of the router's installation
    that has `budget_ms` to give scores, else the longest idle is asked.
    """

    method: Literal["longest_idle", "round_robin", "least_loaded", "most_skilled", "best_fit", "scorer"] = (
        "longest_idle"
    )
    weights: dict[str, int] = {}
    scorer: str = ""
    budget_ms: int = 5


class MicroBatch(Part, frozen=True, kw_only=True):
    """When `burst` contacts came within `window_ms`, gather for `window_ms` and decide them together; else at once."""

    window_ms: int = 100
    burst: int = 4


class Capacity(Part, frozen=True, kw_only=True):
    """`units`: what a contact of a channel takes in this queue. `interrupts`: channels whose contacts an agent may have
    in hand without them counting against a contact of this queue. `exceed`: offered even to agents without room; the
    offer says so.
    """

    units: dict[str, int] = {}
    interrupts: tuple[str, ...] = ()
    exceed: bool = False


class Offers(Part, frozen=True, kw_only=True):
    """How contacts are offered. `parallel`: agents asked at a time, the first accept wins. `timeouts_ms`: by channel, instead
    of the queue's timeout. `strikes`: unanswered offers in a row after which an agent counts as not responding.
    `auto_accept`: no question is asked. `first_response_ms`: an agent who accepted and did not respond for so long loses the
    contact (0: not watched). `decline_memory_ms`: for so long a contact is not offered again to who declined it, passed it on
    or did not respond, unless nobody else who is signed in could serve it.
    """

    parallel: int = 1
    timeouts_ms: dict[str, int] = {}
    strikes: int = 1
    auto_accept: bool = False
    first_response_ms: int = 0
    decline_memory_ms: int = 30_000


class Condition(Part, frozen=True, kw_only=True):
    """All that is given must hold. Times in milliseconds; `waited_over_ms` is the contact's own time in the queue."""

    length_over: int | None = None
    longest_wait_over_ms: int | None = None
    estimated_wait_over_ms: int | None = None
    waited_over_ms: int | None = None
    unstaffed: bool = False
    closed: bool = False
    all_busy: bool = False


class Overflow(Part, frozen=True, kw_only=True):
    """When the condition holds: on to another `queue`, a `callback` that keeps its place, or the end with a `message`."""

    when: Condition
    queue: str = ""
    callback: bool = False
    message: str = ""


class Opening(Part, frozen=True, kw_only=True):
    """Open on `days` (mon to sun) from `start` to `end` (HH:MM, in the queue's zone; `24:00` is midnight)."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...]
    start: str
    end: str


class Override(Part, frozen=True, kw_only=True):
    """Another day than usual: closed, or open from `start` to `end`."""

    date: str
    closed: bool = False
    start: str = ""
    end: str = ""


class Hours(Part, frozen=True, kw_only=True):
    """Hours of operation in `zone` (IANA). `holidays`: a country, or country-subdivision, whose public holidays are closed.

    Overrides win over holidays, holidays over the week.
    """

    zone: str
    weekly: tuple[Opening, ...]
    holidays: str = ""
    overrides: tuple[Override, ...] = ()


class Borrow(Part, frozen=True, kw_only=True):
    """While `when` holds here and `guard` does not hold in the `lender` queue, its agents may serve this queue too."""

    lender: str
    when: Condition
    guard: Condition = Condition()


class Share(Part, frozen=True, kw_only=True):
    """`percent` of the contacts go to `queue`; the same customer always to the same one."""

    queue: str
    percent: int


class Fair(Part, frozen=True, kw_only=True):
    """An agent gets at most `offers` of this queue's contacts in `window_ms`: a token bucket, refilled evenly."""

    offers: int
    window_ms: int


class Home(Part, frozen=True, kw_only=True):
    """What people at home need. `link_score_min`: of the line, 0 to 100. `expected_handle_ms`: no offer that would run past
    the agent's break, shift or hours. `premium`: hours that cost a premium are allowed.
    """

    link_score_min: int = 0
    expected_handle_ms: int = 0
    premium: bool = True


class Headroom(Part, frozen=True, kw_only=True):
    """Contacts of this queue leave at least `agents` agents free who could take a `channel` contact of `queue`."""

    queue: str
    agents: int
    channel: str = "screen_share"


class QueuePolicy(Part, frozen=True, kw_only=True):
    """Everything about how a queue's contacts are routed. `length_max`: contacts that may wait; `ttl_ms`: the longest wait before
    the contact expires; `transfers_max` guards against loops; `resume_hold_ms`: how long an
    agent's capacity is kept for a contact that is to be resumed.
    """

    need: Need = ANYBODY
    order: Order = Order()
    escalations: tuple[Escalation, ...] = ()
    steps: tuple[Step, ...] = ()
    sticky: tuple[Sticky, ...] = ()
    choice: Choice = Choice()
    micro_batch: MicroBatch | None = None
    capacity: Capacity = Capacity()
    offers: Offers = Offers()
    length_max: int | None = None
    ttl_ms: int | None = None
    overflow: tuple[Overflow, ...] = ()
    hours: Hours | None = None
    borrow: Borrow | None = None
    split: tuple[Share, ...] = ()
    fair: Fair | None = None
    home: Home = Home()
    headroom: Headroom | None = None
    transfers_max: int = 11
    resume_hold_ms: int = 30_000


def policy_schema() -> dict[str, Any]:
    """The policy's parts as JSON Schema, by name, with everything that they refer to inside."""
    _, parts = msgspec.json.schema_components([QueuePolicy], ref_template="{name}")

    def resolved(part: Any, inside: tuple[str, ...]) -> Any:
        if isinstance(part, list):
            return [resolved(one, inside) for one in part]
        if not isinstance(part, dict):
            return part
        name = part.get("$ref")
        if name in inside:
            return {"type": "object", "description": f"again a {name}"}
        if name is not None:
            return resolved(parts[name], (*inside, name))
        return {key: resolved(value, inside) for key, value in part.items()}

    return dict(resolved(parts["QueuePolicy"], ("QueuePolicy",))["properties"])
