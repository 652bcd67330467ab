"""Timed routing steps: for a while only some agents, then more. Sticky routing is a step that is put in front."""

from common.contracts.policies import Need, Step
from router.core.index.agents import able_profiles, name_agents
from router.core.index.state import Group, Profile, State
from router.core.index.waiting import is_true, need_now, put_waiting, take_waiting, wake_at
from router.core.model import decisions
from router.core.model.contact import Contact
from router.core.model.decisions import Output
from router.core.model.queue import Queue

TRANSFER_WAIT_MS = 30_000
"""A contact that was passed on to an agent, or asks for one by name, waits so long for that agent where the queue says
nothing about named agents."""


def plan(queue: Queue, contact: Contact) -> tuple[Step, ...]:
    """The contact's steps in this queue: whom it knows first, then the queue's own steps."""
    steps = []
    named = False
    for sticky in queue.policy.sticky:
        need = None
        if sticky.to == "last_agent" and contact.last_agent:
            need = Need(agent=contact.last_agent)
        elif sticky.to == "account_team" and contact.account_team:
            need = Need(attribute="team", value=contact.account_team)
        elif sticky.to == "named_agent" and contact.named_agent:
            need, named = Need(agent=contact.named_agent), True
        if need is not None:
            steps.append(Step(need=need, expires_ms=sticky.wait_ms))
    if contact.named_agent and not named:
        steps.insert(0, Step(need=Need(agent=contact.named_agent), expires_ms=TRANSFER_WAIT_MS))
    return (*steps, *queue.policy.steps)


def join_step(state: State, contact: Contact, decided: list[Output]) -> None:
    """Begin the contact's present step; steps that no signed-in agent could serve are skipped. It waits nowhere now.

    While the queue borrows, its lender's agents count: a step that one of them could serve is not skipped.
    """
    while contact.step < len(contact.steps):
        step = contact.steps[contact.step]
        about = {"contact_id": contact.contact_id, "queue_id": contact.queue_id, "pool": contact.pool}
        if is_unstaffed(state, contact, step):
            decided.append(decisions.StepSkipped(**about, step=contact.step + 1))
            contact.step += 1
            continue
        contact.step_ends_ms = state.now_ms + step.expires_ms
        decided.append(decisions.StepJoined(**about, step=contact.step + 1, expires_at_ms=contact.step_ends_ms))
        wake_at(state, contact, contact.step_ends_ms)
        break
    else:
        contact.step_ends_ms = None
    state.touched_contacts[contact.contact_id] = contact


def is_unstaffed(state: State, contact: Contact, step: Step) -> bool:
    """Whether the contact's present step is one to be skipped: nobody who could serve it is signed in."""
    if step.even_unstaffed:
        return False
    need = need_now(state, contact)
    name_agents(state, need)
    return not able_profiles(state, need, contact.pool) & state.staffed


def leave_unstaffed_step(state: State, contact: Contact, decided: list[Output]) -> None:
    """The contact is about to wait again: its step's last agent may have signed out while it rang them or was held.

    It waits nowhere now, so `skip_unstaffed` did not meet it then.
    """
    if contact.step < len(contact.steps) and is_unstaffed(state, contact, contact.steps[contact.step]):
        join_step(state, contact, decided)  # which skips it


def end_step(state: State, contact: Contact, decided: list[Output], *, expired: bool) -> None:
    """On to the next step, or to the queue's own need after the last."""
    take_waiting(state, contact)
    kind = decisions.StepExpired if expired else decisions.StepSkipped
    decided.append(
        kind(contact_id=contact.contact_id, queue_id=contact.queue_id, pool=contact.pool, step=contact.step + 1)
    )
    contact.step += 1
    join_step(state, contact, decided)
    put_waiting(state, contact)


def skip_unstaffed(state: State, profile: Profile, decided: list[Output]) -> None:
    """Agents of the profile signed out: nobody waits in a step for whom nobody is left."""
    left = profile.able & state.waiting
    groups: list[Group] = []
    while left:
        low = left & -left
        left ^= low
        groups.append(state.group_at[low.bit_length() - 1])
    skip_where_nobody_is(state, groups, decided)


def skip_where_nobody_is(state: State, groups: list[Group], decided: list[Output]) -> None:
    """The same for groups that lost some of those who may serve them."""
    unstaffed = [group for group in groups if group.waiting and not group.able & state.staffed]
    concerned = [contact for group in unstaffed for contact in members(state, group)]
    for contact in sorted(concerned, key=lambda one: one.contact_id):
        if contact.step < len(contact.steps) and not contact.steps[contact.step].even_unstaffed:
            end_step(state, contact, decided, expired=False)


def members(state: State, group: Group) -> list[Contact]:
    """The contacts of the group in order."""
    true = sorted({entry for entry in group.heap if is_true(state, group, entry)})
    return [state.contacts[entry[3]] for entry in true]
