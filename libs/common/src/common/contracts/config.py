"""Facts of `config.v1` (compacted: the last one of a key counts). Owners: router (queues), agent-presence (skills)."""

import msgspec

from common.contracts.contacts import Requirement
from common.contracts.policies import QueuePolicy


class QueueDefined(msgspec.Struct, frozen=True, kw_only=True, tag="queue.defined"):
    """A queue and its routing policy. `version` grows with each change; older ones are ignored."""

    queue: str
    pool: str
    version: int
    requirements: tuple[Requirement, ...]
    priority: int
    offer_timeout_ms: int
    wrap_up_ms: int
    link_grace_ms: int
    service_level_ms: int
    policy: QueuePolicy = QueuePolicy()


class SkillDefined(msgspec.Struct, frozen=True, kw_only=True, tag="skill.defined"):
    """A skill that requirements and agents may name."""

    skill: str
    version: int


ConfigFact = QueueDefined | SkillDefined
