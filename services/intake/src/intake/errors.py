"""What intake refuses over HTTP."""

from common.runtime.problems import SESSION_MISSING, SESSION_OVER, Problem

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
MISSING_HEADERS = {"idempotency-key": KEY_MISSING, "session-no": SESSION_MISSING}
PROBLEMS = (
    KEY_MISSING,
    KEY_REUSED,
    UNKNOWN_QUEUE,
    UNKNOWN_SKILL,
    CONTACT_OVER,
    WITH_AGENT,
    SESSION_MISSING,
    SESSION_OVER,
)
