"""What may pass the border of a service: a credential first, then text that can be stored, then JSON that says one thing.

Every app that `common.runtime.http.make_app` builds has these routes, so no operation has to remember it. A refusal changes
nothing and says the place.
"""

import json
import math
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

from fastapi.dependencies.models import Dependant
from fastapi.requests import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BeforeValidator
from starlette.requests import ClientDisconnect

from common.runtime import problems, tracing
from common.runtime.problems import ProblemRaised

BODY_BYTES_MAX = 65_536
JSON_DEPTH_MAX = 32
"""Objects and lists inside each other. A policy of the deepest needs that are allowed has 25."""
FAULTS_MAX = 20
"""Places that a refusal names; the rest is found when these are mended."""
PLACE_CHARS_MAX = 200

BODY_PROBLEMS = (problems.MALFORMED_JSON, problems.TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE)
"""What any operation that may have a body may answer."""

SINGLE_HEADERS = frozenset({b"content-length", b"content-type", b"idempotency-key", b"session-no", b"x-correlation-id"})
"""Headers that say one thing; two of them say nothing."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_UNUSABLE = re.compile(r"[\x00\ud800-\udfff]")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_WHOLE = re.compile(r"-?[0-9]{1,18}(\.0{1,18})?")
_BRACKET = re.compile(rb"[\[\]{}]")

Who = TypeVar("Who")
Place = tuple[str | int, ...]


class Judge(Generic[Who]):
    """A dependency that judges the caller's credential, once for each request, before anything else of it is looked at.

    `judge` returns who calls, or raises `ProblemRaised`.
    """

    def __init__(self, judge: Callable[[Request], Awaitable[Who]]) -> None:
        self._judge = judge

    async def __call__(self, request: Request) -> Who:
        judged: dict[int, Who] = request.scope["state"].setdefault("judged", {})
        if id(self) not in judged:
            judged[id(self)] = await self._judge(request)
        return judged[id(self)]


class Route(APIRoute):
    """A route behind the border: 401, 403 and 429 come before the request's headers, path, query and body are judged."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if not set(options.get("methods") or ()) <= tracing.READ_METHODS:
            options["responses"] = problems.also(options.get("responses") or {}, *BODY_PROBLEMS)
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        parts = list(_parts(self.dependant))
        judges = [one.call for one in parts if isinstance(one.call, Judge)]
        known = frozenset(field.alias for one in parts for field in one.query_params)
        is_ours_alone = self.include_in_schema  # probes and Prometheus may add to a query what they like
        takes_body = self.body_field is not None

        async def judged(request: Request) -> Response:
            for judge in judges:
                await judge(request)
            _check_headers(request)
            _check_path(request)
            _check_query(request, known if is_ours_alone else None)
            _check_kind_of_body(request)
            try:
                body = await request.body() if takes_body else b""
            except (
                ClientDisconnect
            ):  # nobody is there to read this; it stands in the figures, and is no mistake of ours
                return problems.answer(problems.TOO_SLOW, "The body did not arrive.")
            if body:
                request._json = read_json(body)  # where Starlette keeps what it has parsed
            return await handler(request)

        return judged


def _parts(dependant: Dependant) -> Iterator[Dependant]:
    """An operation and all that it depends on, innermost first."""
    for one in dependant.dependencies:
        yield from _parts(one)
    yield dependant


def pointer(place: Place) -> str:
    """The place as a JSON pointer (RFC 6901) that any answer can carry, cut where it is too long."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in place)
    text = "".join(f"/{part}" for part in parts)[:PLACE_CHARS_MAX]
    return _CONTROL.sub("?", text.encode("utf-8", "replace").decode())


def fault(where: str, place: Place, detail: str) -> dict[str, str]:
    """One entry of a refusal's `errors`."""
    return {"pointer": pointer(place), "in": where, "detail": detail}


def _refuse(*faults: dict[str, str]) -> ProblemRaised:
    return ProblemRaised(problems.INVALID_REQUEST, f"{len(faults)} place(s) do not fit.", errors=list(faults))


def _check_headers(request: Request) -> None:
    seen: set[bytes] = set()
    for name, value in request.scope["headers"]:
        if name in seen and name in SINGLE_HEADERS:
            raise _refuse(fault("header", (name.decode("latin-1"),), "this header comes twice"))
        seen.add(name)
        if _CONTROL_BYTES.search(value):
            raise _refuse(fault("header", (name.decode("latin-1"),), "this header has control characters"))


def _check_path(request: Request) -> None:
    raw: bytes = request.scope.get("raw_path") or b""
    if b"%" in raw and not _is_text(unquote_to_bytes(raw)):
        raise _refuse(fault("path", (), "the path has control characters or is not UTF-8"))


def _check_query(request: Request, known: frozenset[str] | None) -> None:
    raw: bytes = request.scope["query_string"]
    if not raw:
        return
    if not _is_text(unquote_to_bytes(raw)):
        raise _refuse(fault("query", (), "the query has control characters or is not UTF-8"))
    if known is None:
        return
    names = [name for name, _ in parse_qsl(raw.decode(), keep_blank_values=True)]
    unknown = [fault("query", (name,), "there is no such parameter") for name in names if name not in known]
    twice = [fault("query", (name,), "this parameter comes twice") for name in known if names.count(name) > 1]
    if unknown or twice:
        raise _refuse(*(unknown + twice)[:FAULTS_MAX])


def _is_text(raw: bytes) -> bool:
    """UTF-8 without control characters."""
    try:
        return _CONTROL.search(raw.decode("utf-8")) is None
    except UnicodeDecodeError:
        return False


def _check_kind_of_body(request: Request) -> None:
    if request.method in tracing.READ_METHODS:
        return
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or len(length) > 9 or int(length) > BODY_BYTES_MAX:
        raise ProblemRaised(problems.TOO_LARGE, f"Content-Length is {length[:20]}.")
    if int(length) == 0 and "transfer-encoding" not in request.headers:
        return
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    kind, parameters = kind.strip().lower(), parameters.strip().lower().replace('"', "")
    if kind != "application/json" or "content-encoding" in request.headers:
        raise ProblemRaised(problems.UNSUPPORTED_MEDIA_TYPE, f"Content-Type is {kind[:80] or 'missing'}.")
    if parameters.startswith("charset=") and parameters[8:].strip() not in ("utf-8", "utf8", "us-ascii"):
        raise ProblemRaised(problems.UNSUPPORTED_MEDIA_TYPE, "The charset of JSON is UTF-8.")


class _Unreadable(ValueError):
    """JSON that says nothing, or two things."""


def read_json(body: bytes) -> Any:
    """The body's value. Raises `ProblemRaised`: 400 for what is no JSON of one meaning, 422 for text that cannot be kept.

    A number with nothing behind its point is an integer, as JSON Schema has it: 4.0 is 4.
    """
    if body.startswith(b"\xef\xbb\xbf"):
        raise ProblemRaised(problems.MALFORMED_JSON, "The body begins with a byte order mark.")
    if _is_deep(body):
        raise ProblemRaised(problems.MALFORMED_JSON, f"The body nests deeper than {JSON_DEPTH_MAX} levels.")
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise ProblemRaised(problems.MALFORMED_JSON, "The body is not UTF-8.") from None
    except json.JSONDecodeError as why:
        detail = f"The body could not be parsed: {why.msg}, line {why.lineno}, column {why.colno}."
        raise ProblemRaised(problems.MALFORMED_JSON, detail) from None
    except _Unreadable as why:
        raise ProblemRaised(problems.MALFORMED_JSON, f"The body could not be parsed: {why}.") from None
    if b"\\u" in body:  # nothing else can bring them: a raw NUL is no JSON, a raw surrogate no UTF-8
        faults = [
            fault("body", place, "the text has a NUL or half of a surrogate pair") for place in _unusable(value, ())
        ]
        if faults:
            raise _refuse(*faults[:FAULTS_MAX])
    return value


def _is_deep(body: bytes) -> bool:
    if body.count(b"[") + body.count(b"{") <= JSON_DEPTH_MAX:
        return False
    depth = 0
    for found in _BRACKET.finditer(_STRING.sub(b"", body)):
        depth += 1 if found[0] in b"[{" else -1
        if depth > JSON_DEPTH_MAX:
            return True
    return False


def _unusable(value: Any, place: Place) -> Iterator[Place]:
    """Where text cannot be stored in PostgreSQL or written as UTF-8. `value` nests `JSON_DEPTH_MAX` levels at most."""
    if isinstance(value, str):
        if _UNUSABLE.search(value):
            yield place
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _unusable(one, (*place, number))
    elif isinstance(value, dict):
        for name, one in value.items():
            if _UNUSABLE.search(name):
                yield (*place, name)
            yield from _unusable(one, (*place, name))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Unreadable("a name comes twice in one object")
    return found


def _number(text: str) -> float | int:
    value = float(text)
    if not math.isfinite(value):
        raise _Unreadable("a number is too large")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _integer(text: str) -> int:
    if len(text) > 400:  # as large as a float can be; Python refuses to convert longer ones with an error of its own
        raise _Unreadable("a number is too large")
    return int(text)


def _constant(text: str) -> Any:
    raise _Unreadable(f"{text} is no JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=_number, parse_int=_integer, parse_constant=_constant, strict=True
)


def _whole(value: object) -> object:
    if isinstance(value, str):
        if not _WHOLE.fullmatch(value):
            raise ValueError("a whole number is expected")
        return int(value.partition(".")[0])
    return value


def _yes_or_no(value: object) -> object:
    if isinstance(value, str) and value not in ("true", "false"):
        raise ValueError("true or false is expected")
    return value


WHOLE = BeforeValidator(_whole)
"""Behind the `Header` or `Query` of an integer: no blanks, no signs but minus, no underscores; 4.0 is 4, as in JSON Schema."""
YES_OR_NO = BeforeValidator(_yes_or_no)
"""Behind the `Query` of a boolean: `true` or `false`."""
