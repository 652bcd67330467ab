"""What browsers are told: who may frame us, what a page may load, and which other origins may ask."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware

NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""For answers that are no pages: nothing in them is run, loaded or framed."""
API_PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""For the API page: its own scripts only, none in the page itself."""
ALWAYS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
PREFLIGHT_KEPT_S = 600
ASKED_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Prefer",
    "Session-No",
    "X-Correlation-Id",
    "traceparent",
)
ANSWERED_HEADERS = (
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "X-Correlation-Id",
    "X-Served-At",
)
API_PAGE_SCRIPT = """
SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset]})
"""


def protect(headers: MutableHeaders) -> None:
    """Say to browsers what every answer says; a page has brought its own policy already."""
    for name, value in ALWAYS.items():
        headers[name] = value
    headers.setdefault("Content-Security-Policy", NOTHING)


def allow_origins(app: FastAPI, origins: Sequence[str]) -> None:
    """Let pages of these origins ask, with tokens in headers and never with cookies. None: no other origin may."""
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=list(ASKED_HEADERS),
            expose_headers=list(ANSWERED_HEADERS),
            max_age=PREFLIGHT_KEPT_S,
        )


def api_page(title: str) -> str:
    """The page that shows the API; its script is a file of its own, because none in a page is run."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<link rel="stylesheet" href="/docs/static/swagger-ui.css"><link rel="icon" href="/docs/static/favicon-32x32.png">'
        '</head><body><div id="swagger-ui"></div><script src="/docs/static/swagger-ui-bundle.js"></script>'
        '<script src="/docs/start.js"></script></body></html>'
    )
