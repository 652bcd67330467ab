"""What is simulated: queues with their policies, agents, and the contacts that come. Times are in the scenario's unit."""

from typing import Annotated, Literal

import msgspec

from common.contracts.contacts import Channel
from common.contracts.policies import Need, QueuePolicy

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
RANDOM = "random"
"""The scorer that a scenario's queue may name: any able agent, by chance."""
UNIT_MS = {"milliseconds": 1, "seconds": 1_000, "minutes": 60_000, "hours": 3_600_000}


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a scenario: frozen, without unknown fields."""


class Draw(Part, frozen=True, kw_only=True):
    """How long something takes; one of them is given. `lognormal` is (mean, standard deviation of the logarithm),
    `uniform` (from, to), `erlang` (number of phases, mean), `values` are taken in turn.
    """

    constant: NotNegative | None = None
    exponential: Positive | None = None
    lognormal: tuple[Positive, Positive] | None = None
    uniform: tuple[NotNegative, Positive] | None = None
    erlang: tuple[Annotated[int, msgspec.Meta(ge=1, le=1_000)], Positive] | None = None
    values: tuple[NotNegative, ...] | None = None

    @property
    def given(self) -> list[str]:
        """Which of them are given."""
        return [name for name in self.__struct_fields__ if getattr(self, name) is not None]


class QueueSpec(Part, frozen=True, kw_only=True):
    """A queue as administrators define one. Times in milliseconds of the scenario's clock."""

    skills: dict[str, int] = {}
    priority: int = 0
    offer_timeout_ms: int = 20_000
    wrap_up_ms: int = 0
    link_grace_ms: int = 15_000
    service_level_ms: int = 20_000
    policy: QueuePolicy = QueuePolicy()


class Shift(Part, frozen=True, kw_only=True):
    """The agents are there from `start` to `end`."""

    start: NotNegative
    end: Positive


class Outage(Part, frozen=True, kw_only=True):
    """The line is lost: after `every` on the average, for `lasts` on the average; both exponential."""

    every: Positive
    lasts: Positive


class AgentSpec(Part, frozen=True, kw_only=True):
    """`count` agents who are alike. `speed`: conversations take the handle time divided by it.

    `flexible`: the share of them who come at all in a replication, drawn anew for each.
    """

    name: Name
    count: Annotated[int, msgspec.Meta(ge=1, le=20_000)] = 1
    skills: dict[str, int] = {}
    languages: tuple[str, ...] = ()
    region: str = ""
    attributes: dict[str, str] = {}
    units: Annotated[int, msgspec.Meta(ge=1, le=60)] = 6
    speed: Positive = 1.0
    answers_after: Draw | None = None
    shifts: tuple[Shift, ...] = ()
    outages: Outage | None = None
    flexible: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0


class Retry(Part, frozen=True, kw_only=True):
    """This share of those who gave up comes back `after` that long."""

    share: Annotated[float, msgspec.Meta(ge=0, le=1)]
    after: NotNegative


class Stream(Part, frozen=True, kw_only=True):
    """Contacts of a kind. Either `rate` (Poisson, contacts a unit of time), `piecewise` (from that time on this rate), or
    `times` at which they come.
    """

    name: Name
    queue: Name
    channel: Channel = "voice"
    priority: int = 0
    skills: dict[str, int] = {}
    need: Need = Need()
    rate: Positive | None = None
    piecewise: tuple[tuple[NotNegative, NotNegative], ...] | None = None
    times: tuple[NotNegative, ...] | None = None
    handle: Draw
    patience: Draw | None = None
    retry: Retry | None = None


class Scenario(Part, frozen=True, kw_only=True):
    """One world. It ends at `horizon`, when contacts that still wait are let through; or, in a steady state, after `contacts`
    measured ones, which come after `warm_up` ones that are not counted.
    """

    name: str = "scenario"
    unit: Literal["milliseconds", "seconds", "minutes", "hours"] = "seconds"
    queues: dict[Name, QueueSpec]
    agents: tuple[AgentSpec, ...]
    arrivals: tuple[Stream, ...]
    horizon: Positive | None = None
    contacts: Annotated[int, msgspec.Meta(ge=10)] | None = None
    warm_up: Annotated[int, msgspec.Meta(ge=0)] = 0
    start_busy: bool = False
    threshold: NotNegative = 20.0
    replications: Annotated[int, msgspec.Meta(ge=2, le=10_000)] = 20
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    scale: Annotated[int, msgspec.Meta(ge=1)] | None = None

    @property
    def ticks(self) -> int:
        """Ticks of the core's clock in one unit of time; more than milliseconds where `scale` says so."""
        return self.scale or UNIT_MS[self.unit]
