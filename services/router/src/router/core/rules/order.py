"""In what order those who wait are served: the part of a contact's place that never changes, and by how much scores grow."""

from common.contracts.policies import QueuePolicy
from router.core.model.contact import Contact
from router.core.model.queue import Queue

DEFAULT_ORDER = QueuePolicy().order
"""Most queues have it: decided without looking at its parts."""
Entry = tuple[int, int, int, str]
"""The unchanging part of a contact's order: (-level, -score without its growth, routing age, id)."""


def entry_of(queue: Queue, contact: Contact) -> Entry:
    """The unchanging part of the contact's order; see `Order` for the formula. Scores are in thousandths of a point."""
    order = queue.policy.order
    age = contact.routing_age_at_ms
    if order is DEFAULT_ORDER:
        return (-contact.priority, age, age, contact.contact_id)
    if order.method == "score":
        rest = contact.priority * order.points_per_priority * 1_000 - rate_of(queue) * age
        return (0, -rest, age, contact.contact_id)
    rest = -rate_of(queue) * age
    if order.method == "slack":
        rest -= queue.service_level_ms
    return (-contact.priority, -rest, age, contact.contact_id)


def rate_of(queue: Queue) -> int:
    """By how many points the score grows a second."""
    order = queue.policy.order
    points = order.points_per_second if order.method == "score" else 1
    return -points if order.newest_first else points
