"""Answers to what cannot be done, in the form of RFC 9457, each with a way out.

A service adds its own to the catalogue here; `docs/problems.md` is written from all of them.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import msgspec
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of problem: its name in the `type`, the HTTP status, and what the caller can do about it."""

    name: str
    status: int
    title: str
    way_out: str


class ProblemBody(BaseModel):
    """The answer's body."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:porchlight:problem:invalid-request"])
    title: str
    status: int
    detail: str
    way_out: str


class ProblemRaised(Exception):
    """A problem found before a handler was reached (authentication, body size)."""

    def __init__(
        self,
        problem: Problem,
        detail: str,
        headers: dict[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.errors = errors
        self.problem = problem
        self.detail = detail
        self.headers = headers


MALFORMED_JSON = Problem(
    name="malformed-json",
    status=400,
    title="The body is not JSON",
    way_out="Send one JSON object, UTF-8, and check it with a JSON parser first.",
)
INVALID_REQUEST = Problem(
    name="invalid-request",
    status=422,
    title="The request does not fit its schema",
    way_out="See `errors`: each names the place and what is expected there; the schema is in /openapi.json.",
)
UNAUTHENTICATED = Problem(
    name="unauthenticated",
    status=401,
    title="We do not know who you are",
    way_out="Send a valid, unexpired credential in the Authorization header: `Bearer <key or token>`.",
)
FORBIDDEN = Problem(
    name="forbidden",
    status=403,
    title="Your role may not do this",
    way_out="Use a credential with the role that the operation's description names.",
)
NOT_FOUND = Problem(
    name="not-found",
    status=404,
    title="There is no such thing, or it is not yours",
    way_out="Check the id and whose credential you use.",
)
METHOD_NOT_ALLOWED = Problem(
    name="method-not-allowed",
    status=405,
    title="That method does not work here",
    way_out="The Allow header and /openapi.json name the methods.",
)
TOO_LARGE = Problem(
    name="too-large",
    status=413,
    title="The body is too large",
    way_out="A body may have 65,536 bytes; keep documents elsewhere and send a reference.",
)
UNSUPPORTED_MEDIA_TYPE = Problem(
    name="unsupported-media-type",
    status=415,
    title="The body must be JSON",
    way_out="Send `Content-Type: application/json`, without content encoding.",
)
SESSION_OVER = Problem(
    name="session-over",
    status=409,
    title="This session is over",
    way_out="Sign in again (POST /v1/session of agent-presence) and use the new session number; a newer sign-in, a lost line or an"
    " administrator ended this one.",
)
SESSION_MISSING = Problem(
    name="session-number-missing",
    status=400,
    title="The Session-No header is missing",
    way_out="Send the `session_no` that signing in answered with as the header Session-No.",
)
TOO_SLOW = Problem(
    name="too-slow",
    status=408,
    title="The request did not arrive in time",
    way_out="Send the whole request within ten seconds, over a new connection, with the same key.",
)
HEAD_TOO_LARGE = Problem(
    name="head-too-large",
    status=431,
    title="The headers are too large",
    way_out="The first line and all headers may have 16,384 bytes together: send fewer headers or shorter ones.",
)
MALFORMED_REQUEST = Problem(
    name="malformed-request",
    status=400,
    title="That is no HTTP request",
    way_out="Send HTTP/1.1 as RFC 9112 has it, with one Host header; an HTTP library does that for you.",
)
EXPECTATION_FAILED = Problem(
    name="expectation-failed",
    status=417,
    title="What the Expect header asks for is not done here",
    way_out="Leave the Expect header out, or send `100-continue`.",
)
VERSION_NOT_SUPPORTED = Problem(
    name="version-not-supported",
    status=505,
    title="That version of HTTP is not spoken here",
    way_out="Send HTTP/1.1.",
)
TRY_AGAIN = Problem(
    name="try-again",
    status=503,
    title="Not now",
    way_out="Nothing was promised. Repeat the same request, with the same key, after Retry-After seconds.",
)
OUR_MISTAKE = Problem(
    name="our-mistake",
    status=500,
    title="We made a mistake",
    way_out="Repeat the request with the same key; tell us the X-Correlation-Id of this answer if it happens again.",
)

COMMON = (
    MALFORMED_JSON,
    INVALID_REQUEST,
    UNAUTHENTICATED,
    FORBIDDEN,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    TOO_SLOW,
    HEAD_TOO_LARGE,
    MALFORMED_REQUEST,
    EXPECTATION_FAILED,
    VERSION_NOT_SUPPORTED,
    TRY_AGAIN,
    OUR_MISTAKE,
)


def answer(problem: Problem, detail: str, *, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    """The HTTP answer for a problem."""
    body = {
        "type": f"urn:porchlight:problem:{problem.name}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "way_out": problem.way_out,
        **more,
    }
    extra = dict(headers or {})
    if problem is TRY_AGAIN:
        extra.setdefault("Retry-After", "1")
    if problem is UNAUTHENTICATED:
        extra.setdefault("WWW-Authenticate", "Bearer")
    return _ProblemResponse(body, status_code=problem.status, headers=extra, media_type=MEDIA_TYPE)


class _ProblemResponse(JSONResponse):
    """A refusal can always be written: what is no Unicode text in it is escaped."""

    def render(self, content: Any) -> bytes:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")


def documented(*problems: Problem) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation in OpenAPI, with an example for each problem."""
    return also({}, *problems, INVALID_REQUEST, UNAUTHENTICATED, FORBIDDEN, TRY_AGAIN)


def also(responses: Mapping[int | str, Mapping[str, Any]], *problems: Problem) -> dict[int | str, dict[str, Any]]:
    """`responses` with these problems added where they are not there yet."""
    found = deepcopy({status: dict(entry) for status, entry in responses.items()})
    for problem in problems:
        entry = found.setdefault(problem.status, {"model": ProblemBody, "description": "", "content": {}})
        examples = entry["content"].setdefault(MEDIA_TYPE, {"examples": {}})["examples"]
        if problem.name in examples:
            continue
        entry["description"] = "; ".join(filter(None, [entry["description"], problem.title]))
        examples[problem.name] = {
            "value": {
                "type": f"urn:porchlight:problem:{problem.name}",
                "title": problem.title,
                "status": problem.status,
                "detail": "…",
                "way_out": problem.way_out,
            }
        }
    return found
