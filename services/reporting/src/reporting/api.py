"""HTTP face of reporting: figures of a queue, the journey of a contact, a plain status page."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from html import escape
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import AwareDatetime, BaseModel

from common.runtime.auth import Principal, TokenVerifier
from common.runtime.clock import Clock
from common.runtime.http import require_role
from common.runtime.on_its_way import OnItsWay, is_young
from common.runtime.problems import INVALID_REQUEST, NOT_FOUND, answer, documented
from reporting.errors import BAD_INTERVAL
from reporting.ports import Figures

INTERVAL_MAX = timedelta(days=400)
DAY_MS = 86_400_000


class Callbacks(BaseModel):
    """Contacts that were scheduled, or wished to be called back.

    `scheduled`: kept for a later time now. `ended_before_due`: given up or withdrawn in the interval before their time came:
    they were never offered. The rest is what the queue's figures hold of them; their waits begin when they are due.
    """

    scheduled: int
    ended_before_due: int
    offered: int
    answered: int
    abandoned: int
    in_time: int
    service_level: float | None
    asa_ms: float | None


class Summary(BaseModel):
    """Figures of the stays that began in the queue in the interval. Each formula is named.

    A stay is one wait of a contact in the queue, offers included, from when it is due there. `offered` = `answered` +
    `abandoned` + `cancelled` + `expired` + `overflowed` (ended by the queue's policy) + `moved_out` (to another queue by
    overflow) + `put_off` (to be called back later) + those that still wait. Of `offered`, `transferred_in` were passed on by
    an agent, `moved_in` overflowed from another queue, `requeued` came back from an agent who lost them; the rest is new here.
    `contacts_offered` and `contacts_answered` count a contact once. `in_time`: answered within `service_level_ms`.
    `waiting` and `with_agents` are of now, whenever the contacts came; so is `longest_wait_ms` where nobody waited longer before.
    """

    queue: str
    offered: int
    transferred_in: int
    moved_in: int
    requeued: int
    contacts_offered: int
    answered: int
    contacts_answered: int
    abandoned: int
    cancelled: int
    expired: int
    overflowed: int
    moved_out: int
    put_off: int
    in_time: int
    waiting: int
    with_agents: int
    service_level: float | None
    service_level_ms: int
    asa_ms: float | None
    aht_ms: float | None
    longest_wait_ms: int
    occupancy: float | None
    callbacks: Callbacks
    formulas: dict[str, str]
    as_of: datetime


class Step(BaseModel):
    """One transition."""

    at: datetime
    type: str
    attempt: int | None
    agent_id: str | None
    reason: str | None


class SegmentOut(BaseModel):
    """One stay. `kind`: `scheduled` until it is due, in a `queue`, with an `agent`, `paused` by the agent."""

    kind: str
    queue: str
    agent_id: str
    started_at: datetime
    wrap_up_at: datetime | None
    ended_at: datetime | None
    end_reason: str


class Journey(BaseModel):
    """What happened to a contact, in order."""

    contact_id: str
    queue: str
    state: str
    accepted_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    steps: list[Step]
    segments: list[SegmentOut]
    as_of: datetime


def add_routes(
    app: FastAPI, *, figures: Figures, verifier: TokenVerifier, clock: Clock, links: list[tuple[str, str]]
) -> None:
    """Put the routes on the app."""
    reader = require_role(verifier, clock, "supervisor", "admin")
    on_its_way = OnItsWay()  # of a contact that was posted or a queue that was defined a moment ago

    @app.get(
        "/v1/queues/{queue_id}/summary",
        response_model=Summary,
        tags=["figures"],
        responses=documented(NOT_FOUND, INVALID_REQUEST, BAD_INTERVAL),
    )
    async def summary(
        queue_id: Annotated[str, Path(max_length=64)],
        _: Annotated[Principal, Depends(reader)],
        start: Annotated[AwareDatetime, Query(alias="from")],
        end: Annotated[AwareDatetime, Query(alias="to")],
    ) -> Response | dict[str, Any]:
        """Figures of a queue in an interval (role supervisor or admin)."""
        if not timedelta(0) < end - start <= INTERVAL_MAX:
            return answer(BAD_INTERVAL, f"The interval is {end - start} long.")
        found = await on_its_way.look(
            lambda: figures.summary(queue_id, from_ms=_ms(start), to_ms=_ms(end), now_ms=clock.now_ms())
        )
        if found is None:
            return answer(NOT_FOUND, f"There is no queue {queue_id}.")
        return {**found, "as_of": _moment(found["as_of_ms"])}

    @app.get(
        "/v1/contacts/{contact_id}/journey",
        response_model=Journey,
        tags=["figures"],
        responses=documented(NOT_FOUND, INVALID_REQUEST),
    )
    async def journey(
        contact_id: Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")], _: Annotated[Principal, Depends(reader)]
    ) -> Response | dict[str, Any]:
        """Everything that happened to a contact (role supervisor or admin)."""
        found = await on_its_way.look(
            lambda: figures.journey(contact_id), may_come=is_young(contact_id, clock.now_ms())
        )
        if found is None:
            return answer(NOT_FOUND, "No fact speaks of such a contact.")
        return _journey(found)

    @app.get("/", include_in_schema=False)
    async def start(request: Request) -> HTMLResponse:
        """Where to look; figures only for who may see them elsewhere."""
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": PAGE_POLICY}
        if "authorization" not in request.headers:
            return HTMLResponse(_page("", links), headers=headers)
        await reader(request)
        rows, as_of_ms = await figures.by_queue(from_ms=clock.now_ms() - DAY_MS)
        return HTMLResponse(_page(_table(rows, as_of_ms), links), headers=headers)


def _journey(found: dict[str, Any]) -> dict[str, Any]:
    contact = found["contact"]
    return {
        **contact,
        "accepted_at": _moment(contact["accepted_at_ms"]),
        "answered_at": _moment(contact.get("answered_at_ms")),
        "ended_at": _moment(contact.get("ended_at_ms")),
        "steps": [{**step, "at": _moment(step["at_ms"])} for step in found["steps"]],
        "segments": [
            {
                **segment,
                "started_at": _moment(segment["started_at_ms"]),
                "wrap_up_at": _moment(segment["wrap_up_at_ms"]),
                "ended_at": _moment(segment["ended_at_ms"]),
            }
            for segment in found["segments"]
        ],
        "as_of": _moment(found["as_of_ms"]),
    }


_STYLE = """
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid #8884}
th:first-child,td:first-child{text-align:left}footer{margin-top:1rem;opacity:.7}a{margin-right:1rem}
"""
PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; frame-ancestors 'none';"
    " base-uri 'none'; form-action 'none'"
)
"""The page's one style, no script, nothing loaded, in nobody's frame."""
_COLUMNS = ("offered", "answered", "abandoned", "waiting", "with_agents", "scheduled")


def _table(rows: list[dict[str, Any]], as_of_ms: int) -> str:
    head = "".join(f'<th scope="col">{name.replace("_", " ")}</th>' for name in ("queue", *_COLUMNS))
    body = "".join(
        f"<tr><td>{escape(row['queue_id'])}</td>" + "".join(f"<td>{row[name]}</td>" for name in _COLUMNS) + "</tr>"
        for row in rows
    )
    if not rows:
        body = f'<tr><td colspan="{len(_COLUMNS) + 1}">No queue is defined yet.</td></tr>'
    return (
        "<p>By queue: what came in the last 24 hours, and who waits, is served or is scheduled now.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>As of {_moment(as_of_ms):%H:%M:%S} UTC</p>"
    )


def _page(figures: str, links: list[tuple[str, str]]) -> str:
    nav = "".join(f'<a href="{escape(url)}">{escape(name)}</a>' for name, url in links)
    said = figures or "<p>It runs. Figures are for supervisors and administrators: ask with a token.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Porchlight</title><style>{_STYLE}</style></head>"
        f"<body><h1>Porchlight</h1>{said}<footer>{nav}</footer></body></html>"
    )


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC)
