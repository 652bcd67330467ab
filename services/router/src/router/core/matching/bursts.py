"""Bursts: contacts that come together are decided together, as an assignment problem; in calm times each at once."""

from router.core.index.state import IDLE, Group, State, set_timer
from router.core.matching.selection import may_spare, rank, spared
from router.core.matching.steps import members
from router.core.model.agent import Agent
from router.core.model.contact import Contact
from router.core.rules.capacity import obstacle

TOGETHER_MAX = 40
"""Contacts, and agents, of one assignment problem; what is left over is decided one by one."""
UNMATCHED, EARLIER, FORBIDDEN = 10**10, 10**7, 10**14
"""Cost of a contact that gets nobody; how much more it is for each contact that comes before another; of who may not have it."""


def hold_bursts(state: State, contact: Contact) -> None:
    """A contact came to a queue that gathers bursts: hold its group back for that short time."""
    queue = state.queues[contact.queue_id]
    batch = queue.policy.micro_batch
    if batch is None:
        return
    recent = state.arrivals.setdefault(queue.pool, [])
    recent.append(state.now_ms)
    while recent[0] <= state.now_ms - batch.window_ms:
        recent.pop(0)
    group = state.place_of[contact.contact_id][0]
    if len(recent) >= batch.burst and group.held_until_ms is None:
        group.held_until_ms = state.now_ms + batch.window_ms
        set_timer(state, group.held_until_ms, "queue", queue.queue_id)


def release_bursts(state: State) -> list[tuple[Contact, Agent]]:
    """The windows that are over: who gets whom in the best way, for as many as possible."""
    over = [one for one in state.groups.values() if one.held_until_ms is not None and one.held_until_ms <= state.now_ms]
    for group in over:
        group.held_until_ms = None
        if group.waiting:
            state.dirty_groups[group.no] = None
    over = [one for one in over if state.queues[one.queue_id].policy.micro_batch is not None]
    waiting = sorted(
        (
            (state.place_of[one.contact_id][1], one.contact_id, one, group)
            for group in over
            for one in members(state, group)
            if one.scores_due_ms is None
        ),
        key=lambda each: each[:2],
    )[:TOGETHER_MAX]
    if len(waiting) < 2:
        return []
    able = {group.no: spared(state, group) for group in over}
    agents = _candidates(state, [group for _, _, _, group in waiting], able)
    costs = [
        [_cost(state, contact, group, agent, able[group.no]) for agent in agents]
        + [UNMATCHED + (TOGETHER_MAX - place) * EARLIER] * len(waiting)
        for place, (_, _, contact, group) in enumerate(waiting)
    ]
    chosen = enumerate(assign(costs))
    return [(waiting[row][2], agents[column]) for row, column in chosen if column < len(agents)]


def may_have(state: State, contact: Contact, agent: Agent) -> bool:
    """Whether a contact still waits and its agent still has room and may be spared: an offer to several at a time may have asked
    the agent of the next pair too, and each offer of a burst leaves less headroom for the next. What is not
    offered for that waits in its group, which is looked through again.
    """
    place, slot = state.place_of.get(contact.contact_id), state.slots.get(agent.agent_id)
    if place is None or slot is None or not slot[1] >> place[0].demand & 1:
        return False
    return not state.keeps_headroom or may_spare(state, place[0], slot[0])


def _candidates(state: State, groups: list[Group], able: dict[int, int]) -> list[Agent]:
    """The agents who have been idle longest among those who could serve one of the groups."""
    found: list[tuple[int, str]] = []
    wanted = {group.no: group for group in groups}.values()
    for agent_id, (profile, room, _, ranks) in state.slots.items():
        if any(able[group.no] >> profile.no & 1 and room >> group.demand & 1 for group in wanted):
            found.append((ranks[IDLE], agent_id))
    return [state.agents[agent_id] for _, agent_id in sorted(found)[:TOGETHER_MAX]]


def _cost(state: State, contact: Contact, group: Group, agent: Agent, able: int) -> int:
    """Smaller is better: the fit of the agent where the queue cares, else nothing; too much where it may not be."""
    profile = state.profile_of[agent.agent_id]
    if (
        not able >> profile.no & 1
        or agent.agent_id in contact.declined
        or obstacle(agent, state.demands[group.demand], state.now_ms)
    ):
        return FORBIDDEN
    queue = state.queues[contact.queue_id]
    if queue.policy.choice.method in ("most_skilled", "best_fit"):
        return rank(queue, group, profile) + 10**6
    return 0


def assign(costs: list[list[int]]) -> list[int]:
    """For each row its column, so that the sum of costs is the least: shortest augmenting paths (Jonker, Volgenant 1987).

    There must be at least as many columns as rows.
    """
    rows, columns = len(costs), len(costs[0])
    row_price, column_price = [0] * (rows + 1), [0] * (columns + 1)
    row_of, way = [0] * (columns + 1), [0] * (columns + 1)
    for row in range(1, rows + 1):
        row_of[0], column = row, 0
        least = [10**18] * (columns + 1)
        done = [False] * (columns + 1)
        while row_of[column]:
            done[column] = True
            here, step, nearest = row_of[column], 10**18, 0
            for other in range(1, columns + 1):
                if not done[other]:
                    reduced = costs[here - 1][other - 1] - row_price[here] - column_price[other]
                    if reduced < least[other]:
                        least[other], way[other] = reduced, column
                    if least[other] < step:
                        step, nearest = least[other], other
            for other in range(columns + 1):
                if done[other]:
                    row_price[row_of[other]] += step
                    column_price[other] -= step
                else:
                    least[other] -= step
            column = nearest
        while column:
            row_of[column], column = row_of[way[column]], way[column]
    answer = [0] * rows
    for column in range(1, columns + 1):
        if row_of[column]:
            answer[row_of[column] - 1] = column - 1
    return answer
