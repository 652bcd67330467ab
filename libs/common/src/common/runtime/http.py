"""The HTTP edge that all services share: problems, body cap, correlation, health, metrics, API pages."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import fastapi_swagger
import structlog
from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.runtime import browsers, metrics, problems, tracing
from common.runtime.auth import Principal, Refused, Role, TokenVerifier
from common.runtime.borders import BODY_BYTES_MAX, FAULTS_MAX, Judge, Route, fault
from common.runtime.clock import Clock, SystemClock, monotonic_s, new_id
from common.runtime.failures import Retryable
from common.runtime.lifecycle import Running
from common.runtime.refused_credentials import RefusedCredentials

CORRELATION_CHARS_MAX = 64
LOOPBACK = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})

CREDENTIAL = HTTPBearer(auto_error=False, description="An integration's API key, or a person's token.")
"""Names the scheme in the API pages; the credential itself is checked by each operation."""

Ready = Callable[[], Awaitable[dict[str, str]]]
"""What is wrong at the moment, by name; empty when the service may get requests."""


DETAIL_CHARS_MAX = 300

log = structlog.get_logger()


def make_app(
    *,
    title: str,
    description: str,
    running: Running,
    ready: Ready,
    missing: Mapping[str, problems.Problem] = MappingProxyType({}),
    origins: Sequence[str] = (),
    metrics_open: bool = False,
) -> FastAPI:
    """An app whose every error is a documented problem, and whose routes lie behind `common.runtime.borders`.

    `missing`: headers in lower case whose absence is a problem of its own. `origins`: whose pages may ask, besides our own.
    `metrics_open`: whether figures are for anybody who reaches the port, or for this machine only.
    """
    app = FastAPI(
        title=title,
        description=description,
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Security(CREDENTIAL)],
    )
    app.router.route_class = Route
    app.state.missing = missing
    app.state.refused_credentials = RefusedCredentials()
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(problems.ProblemRaised, _raised)
    app.add_exception_handler(Retryable, _retryable)
    _add_pages(app, title)
    _add_health(app, running, ready, metrics_open=metrics_open)
    app.add_middleware(Edge)
    browsers.allow_origins(app, origins)
    return app


def _add_pages(app: FastAPI, title: str) -> None:
    static = Path(fastapi_swagger.__file__).parent / "resources"  # served by us: the pages work offline
    app.mount("/docs/static", StaticFiles(directory=static), name="docs-static")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(browsers.api_page(title), headers={"Content-Security-Policy": browsers.API_PAGE})

    @app.get("/docs/start.js", include_in_schema=False)
    async def start() -> Response:
        return Response(browsers.API_PAGE_SCRIPT, media_type="text/javascript")


def _add_health(app: FastAPI, running: Running, ready: Ready, *, metrics_open: bool) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        wrong = {"process": "stopping"} if running.stopping.is_set() else await ready()
        return JSONResponse({"ready": not wrong, "wrong": wrong}, status_code=503 if wrong else 200)

    @app.get("/metrics", include_in_schema=False)
    async def page(request: Request) -> Response:
        if not metrics_open and (request.client is None or request.client.host not in LOOPBACK):
            metrics.credentials_refused.labels("none", "figures").inc()
            return problems.answer(
                problems.FORBIDDEN, "Figures are for this machine only, see the setting METRICS_OPEN."
            )
        body, media_type = metrics.exposition()
        return Response(body, headers={"Content-Type": media_type})


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    for item in found:
        if item["type"] == "missing" and item["loc"][0] == "header":
            own = request.app.state.missing.get(str(item["loc"][1]).lower())
            if own is not None:
                return problems.answer(own, f"The header {item['loc'][1]} is not there.")
    listed = [
        fault(str(item["loc"][0]), item["loc"][1:], item["msg"][:DETAIL_CHARS_MAX]) for item in found[:FAULTS_MAX]
    ]
    return problems.answer(problems.INVALID_REQUEST, f"{len(found)} place(s) do not fit.", errors=listed)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, RecursionError):
        return problems.answer(problems.INVALID_REQUEST, "The body is nested too deep.")
    known = {
        400: problems.MALFORMED_JSON,
        404: problems.NOT_FOUND,
        405: problems.METHOD_NOT_ALLOWED,
        413: problems.TOO_LARGE,
        415: problems.UNSUPPORTED_MEDIA_TYPE,
    }
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods_of(request))
    return problems.answer(known.get(error.status_code, problems.INVALID_REQUEST), str(error.detail), headers=headers)


def _methods_of(request: Request) -> list[str]:
    """Every method of the request's path; the router itself names those of the first route only."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ()})


async def _raised(_request: Request, error: Exception) -> Response:
    assert isinstance(error, problems.ProblemRaised)
    more = {} if error.errors is None else {"errors": error.errors}
    return problems.answer(error.problem, error.detail, headers=error.headers, **more)


async def _retryable(_request: Request, error: Exception) -> Response:
    log.warning("request_not_now", why=str(error))
    return problems.answer(problems.TRY_AGAIN, "Something that we depend on is away.")


class Edge:
    """Pure ASGI: caps the body, gives each request a correlation id, counts the answers, answers for what nobody expected."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        traceparent = headers.get(tracing.TRACEPARENT, "")
        correlation = headers.get("x-correlation-id", "") or tracing.correlation_from(traceparent)
        if not correlation or len(correlation) > CORRELATION_CHARS_MAX or not correlation.isprintable():
            correlation = new_id()
        scope.setdefault("state", {})["correlation_id"] = correlation
        status = 0

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                also = scope["state"].get("answer_headers", {})
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in also.items()),
                    (b"x-correlation-id", correlation.encode("latin-1")),
                    (b"x-served-at", str(SystemClock.wall_ms()).encode()),  # for who must know how far apart clocks are
                ]
                browsers.protect(MutableHeaders(raw=message["headers"]))
            await send(message)

        started = monotonic_s()
        about: dict[str, Any] = {"method": scope["method"], "correlation_id": correlation, "traceparent": traceparent}
        try:
            with structlog.contextvars.bound_contextvars(correlation_id=correlation), tracing.request(about):
                try:
                    await self._app(scope, _capped(receive), counted_send)
                except asyncio.CancelledError:  # this instance ends: another one can answer, and repeating is safe
                    if not status:
                        away = problems.answer(problems.TRY_AGAIN, "This instance is going away.")
                        await away(scope, receive, counted_send)
                    raise
                except Exception:  # contained here: the connection lives on, and its next requests with it
                    log.exception("our_mistake", method=scope["method"], route=_route_of(scope))
                    if not status:  # an answer that had begun cannot be mended: the server ends its connection
                        mistake = problems.answer(problems.OUR_MISTAKE, "Nothing is known of the request's effect.")
                        await mistake(scope, receive, counted_send)
                finally:
                    about |= {"route": _route_of(scope), "status": status or 500}
        finally:
            metrics.requests.labels(scope["method"], about["route"], str(about["status"])).inc()
            metrics.seconds.labels(scope["method"], about["route"]).observe(monotonic_s() - started)


def _route_of(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "other")


def _capped(receive: Receive) -> Receive:
    seen = 0

    async def capped() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > BODY_BYTES_MAX:
                raise HTTPException(problems.TOO_LARGE.status, "The body went on too long.")
        return message

    return capped


@contextmanager
def departure(request: Request) -> Iterator[Callable[[], bool]]:
    """Says whether the caller has gone, while the block runs; one whose body goes on too long has. No body is wanted.

    One task waits for it: asking Starlette again and again costs a cancel scope each time, which for thousands of held polls is
    most of a core.
    """
    gone = asyncio.create_task(_until_gone(request))
    try:
        yield gone.done
    finally:
        gone.cancel()  # of one that failed, by a body without end, this says that nobody asks why


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def bearer(request: Request) -> str:
    """The credential of the Authorization header. Raises `ProblemRaised` when there is none, or two."""
    given = request.headers.getlist("authorization")
    scheme, _, credential = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not credential.strip():
        metrics.credentials_refused.labels("none", "missing").inc()
        raise problems.ProblemRaised(problems.UNAUTHENTICATED, "There is not one Authorization header with a bearer.")
    return credential.strip()


def refused(request: Request, *, kind: str, why: str, subject: str = "") -> None:
    """Count a credential that was refused, and note it for the audit. `subject`: whose it is, where that is certain."""
    metrics.credentials_refused.labels(kind, why).inc()
    request.app.state.refused_credentials.note(f"{kind} {why}", subject)


def also_answer(request: Request, headers: Mapping[str, str]) -> None:
    """Give the answer these headers, whatever it will be."""
    request.scope["state"].setdefault("answer_headers", {}).update(headers)


def require_role(verifier: TokenVerifier, clock: Clock, *roles: Role) -> Judge[Principal]:
    """A dependency: the caller, who has one of `roles`."""

    async def judge(request: Request) -> Principal:
        principal = verifier.verify(bearer(request), now_s=clock.now_ms() // 1000)
        if isinstance(principal, Refused):
            refused(request, kind="token", why=principal.reason)
            raise problems.ProblemRaised(problems.UNAUTHENTICATED, "The token is not valid, or no longer.")
        if principal.role not in roles:
            refused(request, kind="token", why="role", subject=principal.subject)
            raise problems.ProblemRaised(problems.FORBIDDEN, f"This needs the role {' or '.join(roles)}.")
        return principal

    return Judge(judge)


def correlation_of(request: Request) -> str:
    """The request's correlation id."""
    return str(request.state.correlation_id)
