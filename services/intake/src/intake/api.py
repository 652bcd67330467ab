"""HTTP face of intake: post, read, list and cancel contacts; the customer's details for the agent who holds one."""

import hashlib
from datetime import UTC, datetime
from math import ceil
from typing import Annotated, Any, Self

import msgspec
from fastapi import Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from common.contracts.agents import AGENT_ID
from common.contracts.contacts import CancelReason, Channel
from common.contracts.needs import is_impossible, read_need
from common.contracts.policies import Need
from common.runtime.auth import Principal, TokenVerifier
from common.runtime.borders import WHOLE, Judge
from common.runtime.clock import Clock
from common.runtime.http import also_answer, bearer, correlation_of, refused, require_role
from common.runtime.problems import (
    INVALID_REQUEST,
    MALFORMED_JSON,
    NOT_FOUND,
    SESSION_OVER,
    TOO_LARGE,
    UNAUTHENTICATED,
    UNSUPPORTED_MEDIA_TYPE,
    Problem,
    ProblemRaised,
    answer,
    documented,
)
from common.runtime.rates import RequestRate, seconds
from intake.domain import KeyHolder, KeyRefused, NewContact, Receipt, Refusal, Refused, Scope, Wishes
from intake.errors import (
    CONTACT_OVER,
    KEY_MISSING,
    KEY_REUSED,
    SCOPE_MISSING,
    TOO_MANY_REQUESTS,
    TOO_MANY_WAITING,
    UNKNOWN_QUEUE,
    UNKNOWN_SKILL,
    WITH_AGENT,
)
from intake.handlers import Accepting, Details, ask_callback, cancel
from intake.ports import Contacts, Keys, Relay

STATUS: dict[Refusal, Problem] = {
    Refusal.KEY_REUSED: KEY_REUSED,
    Refusal.UNKNOWN_QUEUE: UNKNOWN_QUEUE,
    Refusal.UNKNOWN_SKILL: UNKNOWN_SKILL,
    Refusal.NOT_FOUND: NOT_FOUND,
    Refusal.CONTACT_OVER: CONTACT_OVER,
    Refusal.SESSION_OVER: SESSION_OVER,
    Refusal.WITH_AGENT: WITH_AGENT,
    Refusal.TOO_MANY_WAITING: TOO_MANY_WAITING,
}
PRIVATE = {"Cache-Control": "no-store"}
"""Nobody between us and the desktop keeps personal data, nor that there is none."""
OF_KEYS = (SCOPE_MISSING, TOO_MANY_REQUESTS)
LAST_ID = "~"
"""Sorts after every id."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
AgentId = Annotated[str, Field(pattern=AGENT_ID)]
AHEAD_MAX_MS = 90 * 86_400_000
"""A contact may be scheduled for up to 90 days."""
PRINTABLE: dict[str, Any] = {"minLength": 1, "pattern": r"^[ -~\u00a1-\u00ac\u00ae-\u00ff]+$"}
"""What a header can carry and a person can read; other values are the problem `idempotency-key-missing`."""
NO_NUL = r"^[^\x00]*$"
"""PostgreSQL's text has no place for a NUL; the border refuses it, and the schema says so."""
IdPath = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]
SessionNo = Annotated[int, Field(ge=1, le=2_000_000_000)]


class RequirementIn(BaseModel):
    """The agent must have the skill at this level or better."""

    model_config = ConfigDict(extra="forbid", strict=True)

    skill: Name
    min_level: int = Field(0, ge=0, le=100)


class Customer(BaseModel):
    """Personal data. It stays in intake, in a table of its own, and only the agent who holds the contact sees it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field("", max_length=200, pattern=NO_NUL)
    address: str = Field("", max_length=320, pattern=NO_NUL, description="Phone number, e-mail address or handle.")
    note: str = Field("", max_length=4_000, pattern=NO_NUL)


def _parse(value: object) -> object:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


Moment = Annotated[AwareDatetime, BeforeValidator(_parse)]
"""A time with its zone; strict models take no text for one by themselves."""


class RoutingIn(BaseModel):
    """What the contact says about its routing besides queue and skills; see docs/routing.md.

    `customer_ref` is yours and opaque (no personal data): with it the last agent of that customer is known.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    need: dict[str, Any] | None = Field(None, description="skill, language, region, attribute, agent, all, any, not")
    customer_ref: str = Field("", max_length=128, pattern=r"^[A-Za-z0-9_.:-]*$")
    last_agent: AgentId | None = None
    account_team: Name | None = None
    named_agent: AgentId | None = None
    not_before: Moment | None = Field(None, description="A scheduled contact: it joins its queue then.")

    @field_validator("need")
    @classmethod
    def _can_be_met(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            read_need(value)
        return value


class CallbackIn(BaseModel):
    """When to call back; without a time the contact keeps its place in the queue."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"not_before": "2026-12-01T17:30:00+01:00"}]}
    )

    not_before: Moment | None = None


class ContactIn(BaseModel):
    """A contact to be routed."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "queue": "billing",
                    "channel": "voice",
                    "requirements": [{"skill": "spanish", "min_level": 60}],
                    "customer": {"name": "Ada", "address": "+34600000000"},
                }
            ]
        },
    )

    queue: Name
    channel: Channel
    priority: int | None = Field(None, ge=0, le=1_000, description="Higher wins; default: the queue's.")
    requirements: list[RequirementIn] = Field([], max_length=16)
    external_id: str | None = Field(
        None, max_length=128, pattern=NO_NUL, description="Your own id, given back as it is."
    )
    customer: Customer | None = None
    routing: RoutingIn | None = None

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        need = self.routing.need if self.routing is not None else None
        if need and self.requirements:
            levels = tuple(Need(skill=one.skill, min_level=one.min_level) for one in self.requirements)
            if is_impossible(Need(all=(*levels, msgspec.convert(need, Need)))):
                raise ValueError("requirements and routing.need contradict each other: nobody could ever meet both")
        return self


class ContactAccepted(BaseModel):
    """The promise: this contact will not be lost."""

    id: str
    state: str
    queue: str
    channel: str
    priority: int
    accepted_at: datetime


class ContactOut(ContactAccepted):
    """A contact as it stands."""

    external_id: str | None
    state_since: datetime
    attempt: int = Field(description="Offers made so far.")
    cancel_reason: str | None


class ContactPage(BaseModel):
    """Newest first; `next` is the cursor of the next page."""

    items: list[ContactOut]
    next: str | None


class CancelIn(BaseModel):
    """`customer_gave_up`: the customer left (abandoned). `withdrawn`: you take the contact back (cancelled)."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"reason": "customer_gave_up"}]}
    )

    reason: CancelReason


class CancelOut(BaseModel):
    """The router will end the contact, unless it ends first by itself."""

    id: str
    state: str


def add_routes(
    app: FastAPI,
    *,
    accepting: Accepting,
    contacts: Contacts,
    keys: Keys,
    rate: RequestRate,
    verifier: TokenVerifier,
    relay: Relay,
    clock: Clock,
) -> None:
    """Put the routes on the app."""
    client = _holder_of_a_key(keys, rate, "post")
    reader = _holder_of_a_key(keys, rate, "read")
    agent = require_role(verifier, clock, "agent")
    details = Details(contacts)

    @app.post(
        "/v1/contacts",
        status_code=202,
        response_model=ContactAccepted,
        tags=["contacts"],
        responses=documented(
            MALFORMED_JSON,
            KEY_MISSING,
            INVALID_REQUEST,
            KEY_REUSED,
            UNKNOWN_QUEUE,
            UNKNOWN_SKILL,
            SCOPE_MISSING,
            TOO_MANY_REQUESTS,
            TOO_MANY_WAITING,
            TOO_LARGE,
            UNSUPPORTED_MEDIA_TYPE,
        ),
    )
    async def post_contact(
        body: ContactIn,
        request: Request,
        holder: Annotated[KeyHolder, Depends(client)],
        idempotency_key: Annotated[str, Header(max_length=255, json_schema_extra=PRINTABLE)],
    ) -> Response:
        """Accept a contact. 202 comes after the commit; a retry with the same key gets the same answer."""
        if not idempotency_key or not idempotency_key.isprintable():
            return answer(KEY_MISSING, "The header is empty or not printable.")
        if body.priority and "priority" not in holder.scopes:
            return answer(SCOPE_MISSING, "A priority above 0 needs the scope priority.")
        done = await accepting.accept(
            _new_contact(body, holder.client_id, idempotency_key, correlation_of(request), clock)
        )
        if isinstance(done, Refused):
            headers = {"Retry-After": "5"} if done.reason is Refusal.TOO_MANY_WAITING else None
            return answer(STATUS[done.reason], done.detail, headers=headers)
        headers = {"Location": f"/v1/contacts/{done.contact_id}"}
        if done.replayed:
            headers["Idempotent-Replayed"] = "true"
        return JSONResponse(_receipt(done), status_code=202, headers=headers)

    @app.get(
        "/v1/contacts/{contact_id}",
        response_model=ContactOut,
        tags=["contacts"],
        responses=documented(NOT_FOUND, INVALID_REQUEST, *OF_KEYS),
    )
    async def get_contact(
        contact_id: IdPath, holder: Annotated[KeyHolder, Depends(reader)]
    ) -> Response | dict[str, Any]:
        """One of your contacts and its state."""
        row = await contacts.get(contact_id=contact_id, client_id=holder.client_id)
        return answer(NOT_FOUND, "There is no such contact of yours.") if row is None else _out(row)

    @app.get(
        "/v1/contacts", response_model=ContactPage, tags=["contacts"], responses=documented(INVALID_REQUEST, *OF_KEYS)
    )
    async def list_contacts(
        holder: Annotated[KeyHolder, Depends(reader)],
        cursor: Annotated[str, Query(pattern=r"^[0-9a-f-]{36}$")] | None = None,
        limit: Annotated[int, Query(ge=1, le=200), WHOLE] = 50,
    ) -> dict[str, Any]:
        """Your contacts, newest first."""
        rows = await contacts.page(client_id=holder.client_id, before=cursor or LAST_ID, limit=limit)
        return {
            "items": [_out(row) for row in rows],
            "next": rows[-1]["contact_id"] if len(rows) == limit else None,
        }

    @app.post(
        "/v1/contacts/{contact_id}/cancel",
        status_code=202,
        response_model=CancelOut,
        tags=["contacts"],
        responses=documented(MALFORMED_JSON, INVALID_REQUEST, NOT_FOUND, CONTACT_OVER, *OF_KEYS),
    )
    async def cancel_contact(
        contact_id: IdPath, body: CancelIn, holder: Annotated[KeyHolder, Depends(client)]
    ) -> Response | dict[str, Any]:
        """Say that the customer gave up, or take the contact back. Asking twice is asking once."""
        refused = await cancel(
            contact_id=contact_id,
            client_id=holder.client_id,
            reason=body.reason,
            contacts=contacts,
            relay=relay,
            clock=clock,
        )
        if refused is not None:
            return answer(STATUS[refused.reason], refused.detail)
        return {"id": contact_id, "state": "cancel_requested"}

    @app.post(
        "/v1/contacts/{contact_id}/callback",
        status_code=202,
        response_model=CancelOut,
        tags=["contacts"],
        responses=documented(MALFORMED_JSON, INVALID_REQUEST, NOT_FOUND, CONTACT_OVER, WITH_AGENT, *OF_KEYS),
    )
    async def call_back(
        contact_id: IdPath, body: CallbackIn, holder: Annotated[KeyHolder, Depends(client)]
    ) -> Response | dict[str, Any]:
        """The customer would rather be called back, and keeps the place; or at a time of their choice. The last wish counts.

        Asked while an agent has the contact: 409.
        """
        refused = await ask_callback(
            contact_id=contact_id,
            client_id=holder.client_id,
            not_before_ms=_due_ms(body.not_before, clock),
            contacts=contacts,
            relay=relay,
            clock=clock,
        )
        if refused is not None:
            return answer(STATUS[refused.reason], refused.detail)
        return {"id": contact_id, "state": "callback_requested"}

    @app.get(
        "/v1/contacts/{contact_id}/customer",
        response_model=Customer,
        tags=["agents"],
        responses=documented(NOT_FOUND, INVALID_REQUEST, SESSION_OVER),
    )
    async def get_customer(
        contact_id: IdPath,
        who: Annotated[Principal, Depends(agent)],
        session_no: Annotated[SessionNo | SkipJsonSchema[None], Header(), WHOLE] = None,
    ) -> Response:
        """The customer's details, for the agent who holds the contact (agent token), at once after the accept was answered.
        Session-No: the session that signing in answered with; one that is over is refused. Without it the agent has to be
        signed in. Reads are noted in the audit."""
        found = await details.customer(contact_id=contact_id, agent_id=who.subject, session_no=session_no)
        if isinstance(found, Refused):
            return answer(STATUS[found.reason], found.detail, headers=PRIVATE)
        return JSONResponse(found, headers=PRIVATE)


def _holder_of_a_key(keys: Keys, rate: RequestRate, scope: Scope) -> Judge[KeyHolder]:
    """A dependency: the holder of an API key that is in force, has the scope, and does not ask too often."""

    async def judge(request: Request) -> KeyHolder:
        found = await keys.holder_of(bearer(request))
        if isinstance(found, KeyRefused):
            refused(request, kind="key", why=found.reason, subject=found.key_id)
            raise ProblemRaised(UNAUTHENTICATED, "The API key is unknown, revoked or expired.")
        budget = rate.take(found.key_id)
        fields = {
            "RateLimit-Policy": rate.policy,
            "RateLimit": f'"requests";r={budget.left};t={ceil(budget.full_in_s)}',
        }
        if budget.wait_s:
            headers = {**fields, "Retry-After": seconds(budget.wait_s)}
            raise ProblemRaised(TOO_MANY_REQUESTS, "This key has used up its requests for now.", headers)
        also_answer(request, fields)
        if scope not in found.scopes:
            raise ProblemRaised(SCOPE_MISSING, f"This needs the scope {scope}.")
        return found

    return Judge(judge)


def _new_contact(body: ContactIn, client_id: str, key: str, correlation_id: str, clock: Clock) -> NewContact:
    said = body.model_dump(mode="json")
    if body.routing is None:
        del said["routing"]  # the hash of a body stays what it was before there was this part
    canonical = msgspec.json.encode(said, order="deterministic")
    return NewContact(
        client_id=client_id,
        idempotency_key=key,
        body_hash=hashlib.sha256(canonical).digest(),
        queue=body.queue,
        channel=body.channel,
        priority=body.priority,
        requirements=tuple(sorted((r.skill, r.min_level) for r in body.requirements)),
        external_id=body.external_id,
        customer=None if body.customer is None else body.customer.model_dump_json(),
        correlation_id=correlation_id,
        wishes=Wishes() if body.routing is None else _wishes(body.routing, clock),
    )


def _due_ms(due: datetime | None, clock: Clock) -> int | None:
    """A time that a contact may be kept for."""
    if due is None:
        return None
    due_ms = round(due.timestamp() * 1_000)
    if due_ms - clock.now_ms() > AHEAD_MAX_MS:
        raise ProblemRaised(INVALID_REQUEST, "not_before may be at most 90 days ahead.")
    return due_ms


def _wishes(said: RoutingIn, clock: Clock) -> Wishes:
    return Wishes(
        need=msgspec.convert(said.need or {}, Need),
        customer=said.customer_ref,
        last_agent=said.last_agent or "",
        account_team=said.account_team or "",
        named_agent=said.named_agent or "",
        not_before_ms=_due_ms(said.not_before, clock),
    )


def _receipt(receipt: Receipt) -> dict[str, Any]:
    return {
        "id": receipt.contact_id,
        "state": "accepted",
        "queue": receipt.queue,
        "channel": receipt.channel,
        "priority": receipt.priority,
        "accepted_at": _moment(receipt.accepted_at_ms),
    }


def _out(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["contact_id"],
        "state": row["state"],
        "queue": row["queue"],
        "channel": row["channel"],
        "priority": row["priority"],
        "accepted_at": _moment(row["accepted_at_ms"]),
        "external_id": row["external_id"],
        "state_since": _moment(row["state_at_ms"]),
        "attempt": row["attempt"],
        "cancel_reason": row["cancel_reason"],
    }


def _moment(at_ms: int) -> str:
    text = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
