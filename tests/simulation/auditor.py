"""The auditor: whether every promise was kept, by a naive model of its own. It shares no code with what it judges.

It reads what was committed, what is on the bus, and what clients saw.
"""

from collections import defaultdict

import msgspec

from common.contracts import contacts, routing
from common.contracts.topics import ROUTING, shard_of
from tests.simulation.naive_model import OVER, Model, is_able, replay, units_of
from tests.simulation.world import World


def is_settled(world: World) -> bool:
    """Everything that was promised has ended, and intake knows it."""
    rows = world.databases.intake.contacts
    promised = {line["contact_id"] for line in world.journal.lines if line["what"] == "posted"}
    return all(name in rows and rows[name].state in OVER for name in promised | set(rows))


WAITS_MAX_S = 45.0
"""Longer than any memory of a decline, and any wait for a named agent: who could serve it by now would have been asked."""


def audit_half_way(world: World) -> list[str]:
    """What is seen only while contacts live: counts by queue, and who waits beside an idle agent."""
    model = replay(world)
    model.found.clear()  # all of it is found again at the end
    shown = {
        name: row.queue_id for name, (_, row) in world.databases.router.contacts.items() if row.ended_at_ms is None
    }
    for life in model.lives.values():
        if life.state not in (None, *OVER) and shown.get(life.contact_id) != life.queue:
            model.wrong("counts", f"{life.contact_id} is in {life.queue}, counted in {shown.get(life.contact_id)}")
    _find_who_waits_in_vain(model, world)
    return model.found


def _find_who_waits_in_vain(model: Model, world: World) -> None:
    """Contacts that wait although somebody who could serve them has nothing to do."""
    now_s = world.loop.time()
    for life in model.lives.values():
        if life.state != "queued" or now_s - life.since_s < WAITS_MAX_S:
            continue
        for (shard, agent_id), pictures in sorted(model.pictures.items()):
            standing, picture = model.standings.get(agent_id), pictures[-1]
            if standing is None or (standing.routing_state, standing.session_no) != ("ready", picture.session_no):
                continue
            queue = model.versions(life.queue)[-1]
            if shard_of(queue.pool) != shard or model.work_of(agent_id) or picture.pool != queue.pool:
                continue
            room = picture.units >= units_of(queue, life.channel) and picture.channel_max.get(life.channel, 1) > 0
            if room and picture.presence == "available" and is_able(model, life, picture, queue):
                waited_s = round(now_s - life.since_s)
                model.wrong("I11", f"{life.contact_id} waits in {life.queue} since {waited_s} s, {agent_id} is idle")


def audit(world: World, *, peace_s: float) -> list[str]:
    """Everything that does not hold, once all is settled; `peace_s`: when the last fault was over."""
    model = replay(world)
    _check_bus(model, world)
    _check_promises(model, world)
    _check_agents(model, world, peace_s)
    _check_replicas(model, world)
    return model.found


def _check_bus(model: Model, world: World) -> None:
    """I6 and I7: what is on the bus was committed before, in order, and everything committed is there."""
    log = {(one.shard, line.seq): (one.at_s, line) for one in world.commits for line in one.batch.log}
    newest: dict[int, int] = defaultdict(int)
    for stored in world.bus.history:
        record = stored.record
        if record.topic != ROUTING.name or record.envelope is None:
            continue
        key = (record.partition, record.envelope.sequence or 0)
        committed = log.get(key)
        if committed is None or committed[1].body.encode() != record.value or committed[0] > stored.at_s:
            model.wrong("I6", f"{record.envelope.type} at {key} was published and is not what was committed before")
            continue
        if key[1] > newest[key[0]] + 1:
            model.wrong("I6", f"shard {key[0]}: {key[1]} was published after {newest[key[0]]}")
        newest[key[0]] = max(newest[key[0]], key[1])
    for shard, lease in world.databases.router.leases.items():
        if not lease.last_seq == newest[shard] == max((seq for number, seq in log if number == shard), default=0):
            model.wrong("I7", f"shard {shard}: {lease.last_seq} in the lease, {newest[shard]} published")


def _check_promises(model: Model, world: World) -> None:
    """I1 and I5: what was promised is there, once, and came to an end."""
    by_key: dict[str, set[str]] = defaultdict(set)
    for line in world.journal.lines:
        if line["what"] == "posted":
            by_key[line["key"]].add(line["contact_id"])
            if line["contact_id"] not in model.lives:
                model.wrong("I1", f"{line['contact_id']} was promised at {line['at_s']:.3f} and never routed")
    for stored in world.bus.history:
        fact = stored.record.fact
        if isinstance(fact, contacts.ContactSubmitted) and stored.record.envelope is not None:
            by_key[stored.record.envelope.correlation_id.removeprefix("corr-")].add(fact.contact_id)
    for key, names in sorted(by_key.items()):
        if len(names) > 1:
            model.wrong("I5", f"{key} made {sorted(names)}")
    for life in model.lives.values():
        if life.state not in OVER:
            model.wrong("I1", f"{life.contact_id} in {life.queue} is {life.state} for ever, since {life.since_s:.1f}")
        row = world.databases.intake.contacts.get(life.contact_id)
        if row is None or row.state != life.state:
            model.wrong("I1", f"{life.contact_id} is {life.state}, intake says {row and row.state}")
        elif row.present_queue != life.queue:
            model.wrong("I7", f"{life.contact_id} is in {life.queue}, intake says {row.present_queue}")


def _check_agents(model: Model, world: World, peace_s: float) -> None:
    """I6, I8 and I9: agents see what was committed, are told what happened, and see it in time."""
    made = {
        (fact.contact_id, fact.attempt): (fact.agent_id, one.at_s)
        for one in world.commits
        for line in one.batch.log
        if line.type == "offer.made"
        for fact in (msgspec.json.decode(line.body, type=routing.OfferMade),)
    }
    for line in world.journal.lines:
        if line["what"] == "seen":
            offer = made.get((line["contact_id"], line["attempt"]))
            if offer is None or offer[0] != line["agent_id"] or offer[1] > line["at_s"]:
                model.wrong("I6", f"{line['agent_id']} saw {line['contact_id']}/{line['attempt']}, which was not made")
        elif line["what"] == "answered" and line["outcome"] not in ("session_over", "reused"):
            told = model.answers.get((line["agent_id"], line["command_id"]))
            if told != line["outcome"]:
                model.wrong("I8", f"{line['command_id']} was answered {line['outcome']}, and the log has {told}")
    _find_what_was_not_shown(model, world, peace_s)
    for life in model.lives.values():
        if life.callback_owed_s is not None:
            model.wrong("I1", f"{life.contact_id}: the callback asked at {life.callback_owed_s:.3f} was dropped")


SHOWN_WITHIN_S = 1.5
"""A poll that is held says so in milliseconds; a desktop whose answer got lost asks again at once."""


def _find_what_was_not_shown(model: Model, world: World, peace_s: float) -> None:
    """I9: offers that ended unseen, although their agent polled all the time and nothing failed."""
    lines = world.journal.lines
    seen = {(one["agent_id"], one["contact_id"], one["attempt"]) for one in lines if one["what"] == "seen"}
    turns: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for line in lines:
        if line["what"] == "polls":
            turns[line["agent_id"]].append((line["at_s"], line["does"]))
    for at_s, stay, contact_id in model.timed_out:
        if stay.made_s < peace_s + 20.0 or at_s - stay.made_s < SHOWN_WITHIN_S:
            continue
        before = [does for turn_s, does in turns[stay.agent_id] if turn_s <= stay.made_s]
        meanwhile = any(stay.made_s < turn_s <= at_s for turn_s, _ in turns[stay.agent_id])
        if before[-1:] == [True] and not meanwhile and (stay.agent_id, contact_id, stay.attempt) not in seen:
            model.wrong(
                "I9", f"{stay.agent_id} polls and was not shown {contact_id}, made {stay.made_s:.3f}, {at_s:.3f}"
            )


def _check_replicas(model: Model, world: World) -> None:
    """Both replicas' inboxes, the stored ones and reporting's rows say what the facts say."""
    live = {(life.contact_id, stay.agent_id) for life in model.lives.values() for stay in life.stays}
    for instance in world.instances:
        if instance.service != "presence" or instance.wiring is None or instance is world.frozen:
            continue
        inboxes = instance.wiring.face.inboxes
        for agent_id in world.databases.presence.profiles:
            seen = {(item.contact_id, agent_id) for item in inboxes.items(agent_id)}
            if seen != {key for key in live if key[1] == agent_id}:
                model.wrong("I6", f"{instance.name} shows {agent_id} {seen}")
            standing, told = inboxes.standing(agent_id), model.standings.get(agent_id)
            if (standing and standing.routing_state) != (told and told.routing_state):
                model.wrong("I6", f"{instance.name} says {agent_id} is {standing}, the router {told}")
    if set(world.databases.presence.items) != live:
        model.wrong("I6", f"stored inboxes have {set(world.databases.presence.items) ^ live} too many or too few")
    for life in model.lives.values():
        row = world.databases.reporting.contacts.get(life.contact_id)
        ours = (life.state, life.attempts, life.answered)
        theirs = None if row is None else (row.state, row.attempts, row.answered_at_ms is not None)
        if theirs != ours and not (row is None and life.attempts == 0):
            model.wrong("figures", f"{life.contact_id}: reporting has {theirs}, the facts say {ours}")
