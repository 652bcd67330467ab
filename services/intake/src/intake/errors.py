"""What intake refuses over HTTP."""

from common.runtime.problems import SESSION_OVER, Problem

KEY_MISSING = Problem(
    name="idempotency-key-missing",
    status=400,
    title="A POST of a contact needs an Idempotency-Key",
    way_out="Send a header `Idempotency-Key` of 1 to 255 printable characters, new for each contact, the same for a retry.",
)
KEY_REUSED = Problem(
    name="idempotency-key-reused",
    status=422,
    title="This Idempotency-Key was used with another body",
    way_out="Send the first body again to get the first answer, or a new key for a new contact.",
)
UNKNOWN_QUEUE = Problem(
    name="unknown-queue",
    status=422,
    title="There is no such queue",
    way_out="Use a queue that an administrator defined (PUT /v1/queues/{id} of the router).",
)
UNKNOWN_SKILL = Problem(
    name="unknown-skill",
    status=422,
    title="There is no such skill",
    way_out="Use skills that an administrator defined (PUT /v1/skills/{id} of agent-presence).",
)
CONTACT_OVER = Problem(
    name="contact-over",
    status=409,
    title="The contact is over already",
    way_out="Nothing to do: read its state with GET /v1/contacts/{id}.",
)
WITH_AGENT = Problem(
    name="contact-with-agent",
    status=409,
    title="An agent has the contact",
    way_out="Let the agent and the customer agree on a time; ask again if the contact waits again (GET /v1/contacts/{id}).",
)
TOO_MANY_REQUESTS = Problem(
    name="too-many-requests",
    status=429,
    title="This key asks too often",
    way_out="Repeat the same request after Retry-After seconds; nothing was done. The field RateLimit says how many are left.",
)
TOO_MANY_WAITING = Problem(
    name="too-many-waiting",
    status=429,
    title="Too many of your contacts wait",
    way_out="Post again, with the same key, when some were served or taken back; ask an administrator for a higher limit.",
)
SCOPE_MISSING = Problem(
    name="scope-missing",
    status=403,
    title="This API key may not do this",
    way_out="Use a key with the scope that `detail` names; an administrator sets scopes (PUT /v1/keys/{id}).",
)
KEY_OVER = Problem(
    name="key-over",
    status=409,
    title="There is no such API key in force",
    way_out="List the keys (GET /v1/keys); make a new one instead of one that was revoked or has expired.",
)
MISSING_HEADERS = {"idempotency-key": KEY_MISSING}
PROBLEMS = (
    KEY_MISSING,
    KEY_REUSED,
    UNKNOWN_QUEUE,
    UNKNOWN_SKILL,
    CONTACT_OVER,
    WITH_AGENT,
    SESSION_OVER,
    TOO_MANY_REQUESTS,
    TOO_MANY_WAITING,
    SCOPE_MISSING,
    KEY_OVER,
)
