"""What the core knows of an agent. Only the engine changes it, and only inside a step."""

import msgspec


class Agent(msgspec.Struct, kw_only=True):
    """An agent as the router sees one.

    `routing_state` is `ready` when offers may be made; `idle_since_ms` is when the agent last had nothing to do with
    work: missed offers do not reset it. `work` maps a contact to its channel and the capacity units that it takes;
    `paused` contacts take none; for the `resuming` one capacity is kept; `elsewhere` are units that contacts of another shard
    still take, from before the agent came to a pool of this one. After `break_due_ms`, `shift_ends_ms` and
    `denied_from_ms` nothing may run on; from `premium_from_ms` on work costs a premium; `lapses_ms`:
    when time next takes room away.
    """

    agent_id: str
    pool: str
    session_no: int
    seq: int
    presence: str
    skills: tuple[tuple[str, int], ...]
    units: int
    routing_state: str
    idle_since_ms: int
    languages: tuple[str, ...] = ()
    region: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    channel_max: tuple[tuple[str, int], ...] = ()
    link_score: int = 100
    auto_accept: bool = False
    offer_extra_ms: int = 0
    shift_ends_ms: int | None = None
    break_due_ms: int | None = None
    premium_from_ms: int | None = None
    denied_from_ms: int | None = None
    denied_reason: str = ""
    work: dict[str, tuple[str, tuple[int, ...]]] = {}
    strikes: int = 0
    turn: int = 0
    tokens: dict[str, tuple[int, int]] = {}
    is_timed: bool = False
    lapses_ms: int | None = None
    paused: list[str] = []
    resuming: str = ""
    told_denial: str = ""
    elsewhere: tuple[int, ...] = ()

    @property
    def used_units(self) -> int:
        """Units that its contacts take; above `units` after capacity was cut or exceeded on purpose."""
        return sum([len(numbers) for _, numbers in self.work.values()]) + len(self.elsewhere)
