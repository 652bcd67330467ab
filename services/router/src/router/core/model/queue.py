"""What the core knows of a queue, and how much of an agent a contact takes where its queue does not say."""

import msgspec

from common.contracts.policies import ANYBODY, Need, QueuePolicy

CHANNEL_UNITS = {
    "voice": 6,
    "callback": 6,
    "screen_share": 6,
    "chat": 2,
    "social": 2,
    "sms": 1,
    "email": 1,
}
"""Capacity units that a contact takes where its queue says nothing else."""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue and its policy. `need` is everything that its contacts ask of an agent."""

    queue_id: str
    pool: str
    version: int
    priority: int
    offer_timeout_ms: int
    wrap_up_ms: int
    link_grace_ms: int
    service_level_ms: int
    need: Need = ANYBODY
    policy: QueuePolicy = QueuePolicy()
