"""The HTTP edge that all services share: problems, body cap, correlation, health, metrics, API pages."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import fastapi_swagger
import structlog
from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.runtime import metrics, problems, tracing
from common.runtime.auth import Principal, Refused, Role, TokenVerifier
from common.runtime.clock import Clock, SystemClock, monotonic_s, new_id
from common.runtime.failures import Retryable
from common.runtime.lifecycle import Running

BODY_BYTES_MAX = 65_536
CORRELATION_CHARS_MAX = 64

CREDENTIAL = HTTPBearer(auto_error=False, description="An integration's API key, or a person's token.")
"""Names the scheme in the API pages; the credential itself is checked by each operation."""

Ready = Callable[[], Awaitable[dict[str, str]]]
"""What is wrong at the moment, by name; empty when the service may get requests."""


def make_app(*, title: str, description: str, running: Running, ready: Ready) -> FastAPI:
    """An app whose every error is a documented problem."""
    app = FastAPI(
        title=title,
        description=description,
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Security(CREDENTIAL)],
    )
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(problems.ProblemRaised, _raised)
    app.add_exception_handler(Retryable, _retryable)
    app.add_exception_handler(Exception, _our_mistake)
    _add_pages(app, title)
    _add_health(app, running, ready)
    app.add_middleware(Edge)
    return app


def _add_pages(app: FastAPI, title: str) -> None:
    static = Path(fastapi_swagger.__file__).parent / "resources"  # served by us: the pages work offline
    app.mount("/docs/static", StaticFiles(directory=static), name="docs-static")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=title,
            swagger_js_url="/docs/static/swagger-ui-bundle.js",
            swagger_css_url="/docs/static/swagger-ui.css",
            swagger_favicon_url="/docs/static/favicon-32x32.png",
        )


def _add_health(app: FastAPI, running: Running, ready: Ready) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        wrong = {"process": "stopping"} if running.stopping.is_set() else await ready()
        return JSONResponse({"ready": not wrong, "wrong": wrong}, status_code=503 if wrong else 200)

    @app.get("/metrics", include_in_schema=False)
    async def page() -> Response:
        body, media_type = metrics.exposition()
        return Response(body, headers={"Content-Type": media_type})


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return problems.answer(problems.MALFORMED_JSON, "The body could not be parsed.")
    listed = [
        {
            "pointer": "/" + "/".join(str(part) for part in item["loc"][1:]),
            "in": str(item["loc"][0]),
            "detail": item["msg"],
        }
        for item in found[:20]
    ]
    return problems.answer(problems.INVALID_REQUEST, f"{len(found)} place(s) do not fit.", errors=listed)


async def _http_error(_request: Request, error: Exception) -> Response:
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
    return problems.answer(
        known.get(error.status_code, problems.INVALID_REQUEST),
        str(error.detail),
        headers=dict(error.headers or {}),
    )


async def _raised(_request: Request, error: Exception) -> Response:
    assert isinstance(error, problems.ProblemRaised)
    return problems.answer(error.problem, error.detail, headers=error.headers)


async def _retryable(_request: Request, error: Exception) -> Response:
    structlog.get_logger().warning("request_not_now", why=str(error))
    return problems.answer(problems.TRY_AGAIN, "Something that we depend on is away.")


async def _our_mistake(request: Request, _error: Exception) -> Response:
    return problems.answer(
        problems.OUR_MISTAKE,
        "The request met a mistake of ours; nothing is known of its effect.",
        headers={"X-Correlation-Id": correlation_of(request)},
    )


class Edge:
    """Pure ASGI: caps and checks the body, gives each request a correlation id, counts the answers."""

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
                message["headers"] = [
                    *message["headers"],
                    (b"x-correlation-id", correlation.encode("latin-1")),
                    (b"x-served-at", str(SystemClock.wall_ms()).encode()),  # for who must know how far apart clocks are
                ]
            await send(message)

        started = monotonic_s()
        about: dict[str, Any] = {"method": scope["method"], "correlation_id": correlation, "traceparent": traceparent}
        try:
            with structlog.contextvars.bound_contextvars(correlation_id=correlation), tracing.request(about):
                try:
                    await self._answer(scope, receive, counted_send, headers)
                except asyncio.CancelledError:  # this instance ends: another one can answer, and repeating is safe
                    if not status:
                        away = problems.answer(problems.TRY_AGAIN, "This instance is going away.")
                        await away(scope, receive, counted_send)
                    raise
                finally:  # what nobody expected is answered outside of us, as our mistake
                    about |= {"route": getattr(scope.get("route"), "path", "other"), "status": status or 500}
        finally:
            metrics.requests.labels(scope["method"], about["route"], str(about["status"])).inc()
            metrics.seconds.labels(scope["method"], about["route"]).observe(monotonic_s() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str]) -> None:
        refusal = _refusal(scope["method"], headers)
        if refusal is not None:
            await refusal(scope, receive, send)
        else:
            await self._app(scope, _capped(receive), send)


def _refusal(method: str, headers: dict[str, str]) -> Response | None:
    if method in tracing.READ_METHODS:
        return None
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > BODY_BYTES_MAX:
        return problems.answer(problems.TOO_LARGE, f"Content-Length is {length[:20]}.")
    has_body = int(length) > 0 or "transfer-encoding" in headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body and (kind != "application/json" or "content-encoding" in headers):
        return problems.answer(problems.UNSUPPORTED_MEDIA_TYPE, f"Content-Type is {kind[:80] or 'missing'}.")
    return None


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


def bearer(request: Request) -> str:
    """The credential of the Authorization header. Raises `ProblemRaised` when there is none."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        metrics.credentials_refused.labels("none", "missing").inc()
        raise problems.ProblemRaised(problems.UNAUTHENTICATED, "The Authorization header has no bearer credential.")
    return credential.strip()


def require_role(verifier: TokenVerifier, clock: Clock, *roles: Role) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency: the caller, who has one of `roles`."""

    async def dependency(request: Request) -> Principal:
        principal = verifier.verify(bearer(request), now_s=clock.now_ms() // 1000)
        if isinstance(principal, Refused):
            metrics.credentials_refused.labels("token", principal.reason).inc()
            raise problems.ProblemRaised(problems.UNAUTHENTICATED, "The token is not valid, or no longer.")
        if principal.role not in roles:
            metrics.credentials_refused.labels("token", "role").inc()
            raise problems.ProblemRaised(problems.FORBIDDEN, f"This needs the role {' or '.join(roles)}.")
        return principal

    return dependency


def correlation_of(request: Request) -> str:
    """The request's correlation id."""
    return str(request.state.correlation_id)
