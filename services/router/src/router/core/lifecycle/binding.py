"""What a contact's queue makes of it: the one place where a contact takes on the policy of its queue."""

from router.core.index.state import State
from router.core.index.waiting import moments, wake_at
from router.core.matching.steps import join_step, plan
from router.core.model.contact import Contact, ContactState
from router.core.model.decisions import Output
from router.core.rules.capacity import units_of


def bind_to_queue(state: State, contact: Contact, decided: list[Output]) -> None:
    """Work out anew the contact's units, plan of steps and timers from its queue, its channel and the queue's policy.

    To be called whenever one of the three changed, while the contact waits nowhere: who waits again afterwards is found by
    what it needs now, because its group is looked up then (`waiting.group_for`). A contact that is on offer or held keeps the
    units that were taken for it until it gives them back, and makes its plan when it waits again; only a paused one, which
    takes none, is measured at once. A place in the plan is kept as far as the new plan has it.
    """
    queue = state.queues[contact.queue_id]
    units = units_of(queue, contact.channel)
    if units != contact.units:
        contact.units = units
        state.touched_contacts[contact.contact_id] = contact
    if contact.state is not ContactState.QUEUED:
        return
    contact.queue_version = queue.version
    if queue.queue_id in state.calm and not (contact.named_agent or contact.steps or contact.escalated):
        return
    steps = plan(queue, contact)
    if steps != contact.steps:
        before, contact.steps = contact.steps[contact.step : contact.step + 1], steps
        state.touched_contacts[contact.contact_id] = contact
        contact.step = min(contact.step, len(steps))
        if not before or steps[contact.step : contact.step + 1] != before:
            join_step(state, contact, decided)
    contact.escalated = min(contact.escalated, len(queue.policy.escalations))
    for at_ms in moments(queue, contact):
        wake_at(state, contact, at_ms)


def follow_queue(state: State, contact: Contact, decided: list[Output]) -> None:
    """Bind the contact again if its queue changed since it was bound: on offer, with an agent, or before a rebuild."""
    if contact.queue_version != state.queues[contact.queue_id].version:
        bind_to_queue(state, contact, decided)
