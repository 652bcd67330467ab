"""What agent-presence refuses over HTTP."""

from common.runtime.problems import NOT_FOUND, SESSION_MISSING, SESSION_OVER, Problem

OFFER_OVER = Problem(
    name="offer-over",
    status=409,
    title="The offer is over",
    way_out="Too late is normal: go on with what GET /v1/inbox shows.",
)
ALREADY_DONE = Problem(
    name="already-done",
    status=409,
    title="That is done already",
    way_out="Go on with what GET /v1/inbox shows; repeat a command only with its own command_id.",
)
COMMAND_REUSED = Problem(
    name="command-id-reused",
    status=422,
    title="This command_id was used for another command",
    way_out="Use a new command_id for a new command, and the same one only to repeat it.",
)
UNKNOWN_SKILL = Problem(
    name="unknown-skill",
    status=422,
    title="There is no such skill",
    way_out="Define it first with PUT /v1/skills/{id}.",
)
AGENT_SIGNED_IN = Problem(
    name="agent-signed-in",
    status=409,
    title="The agent is signed in",
    way_out="Let the agent sign out before moving it to another pool.",
)
NOT_AN_AGENT = Problem(
    name="not-an-agent",
    status=403,
    title="You are not set up as an agent",
    way_out="Ask an administrator to define you with PUT /v1/agents/{id}, enabled.",
)
NO_SUCH_TARGET = Problem(
    name="no-such-target",
    status=422,
    title="There is no such queue or agent to pass the contact on to",
    way_out="Name a queue of the same pool, or another agent who has signed in before; you still hold the contact.",
)
NOBODY_THERE = Problem(
    name="target-cannot-take-it",
    status=409,
    title="Whom you name could not take the contact",
    way_out="`reason` says why: the agent is not signed in, or does not meet what the queue and the contact ask for, or nobody "
    "ever could. Name a queue, or an agent who is there and able; you still hold the contact.",
)
TOO_MANY_TRANSFERS = Problem(
    name="too-many-transfers",
    status=409,
    title="The contact was passed on too often",
    way_out="Finish it, or ask a supervisor; the queue's `transfers_max` is the limit. You still hold the contact.",
)
NO_CAPACITY = Problem(
    name="no-capacity",
    status=409,
    title="You have no capacity for it yet",
    way_out="Finish or pause something, then resume it with a new command_id; it stays paused meanwhile.",
)
TOO_OFTEN = Problem(
    name="too-often",
    status=429,
    title="You ask too often",
    way_out="Nothing was done: repeat the same after Retry-After seconds, a command with the same command_id. A poll that gave way "
    "is one window too many: close the others.",
)
MISSING_HEADERS = {"session-no": SESSION_MISSING}
PROBLEMS = (
    SESSION_OVER,
    SESSION_MISSING,
    OFFER_OVER,
    ALREADY_DONE,
    COMMAND_REUSED,
    UNKNOWN_SKILL,
    AGENT_SIGNED_IN,
    NOT_AN_AGENT,
    NO_SUCH_TARGET,
    NOBODY_THERE,
    TOO_MANY_TRANSFERS,
    NO_CAPACITY,
    TOO_OFTEN,
)
REFUSALS = {
    "unknown_contact": NOT_FOUND,
    "not_offered_to_you": NOT_FOUND,
    "not_held_by_you": NOT_FOUND,
    "offer_over": OFFER_OVER,
    "already_done": ALREADY_DONE,
    "old_session": SESSION_OVER,
    "unknown_queue": NO_SUCH_TARGET,
    "unknown_agent": NO_SUCH_TARGET,
    "agent_not_signed_in": NOBODY_THERE,
    "agent_not_able": NOBODY_THERE,
    "nobody_able": NOBODY_THERE,
    "too_many_transfers": TOO_MANY_TRANSFERS,
    "no_capacity": NO_CAPACITY,
}
"""The router's reasons, as problems."""
