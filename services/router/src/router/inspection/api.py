"""HTTP face of the router for supervisors: how long a contact will wait, and why it is where it is."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request, Response
from pydantic import BaseModel, Field

from common.runtime.auth import Principal, TokenVerifier
from common.runtime.clock import Clock
from common.runtime.http import require_role
from common.runtime.on_its_way import OnItsWay, is_young
from common.runtime.problems import INVALID_REQUEST, NOT_FOUND, answer, documented
from router.inspection.queries import Views

ContactId = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]


class WaitOut(BaseModel):
    """A contact's place among those that compete for the same agents, and its wait from `as_of_ms` on.

    Without `position` it does not wait; without `p50_ms` nobody who is signed in could serve it: then `reason` is `unstaffed`, or
    `no_capacity` where those who are there could never hold it, and `position` is the place in its queue if nobody is there.
    """

    contact_id: str
    state: str
    as_of_ms: int
    position: int | None = None
    agents: int | None = Field(
        None, description="Agents who could serve it: those ready, or if none is, those signed in."
    )
    p50_ms: int | None = None
    p90_ms: int | None = None
    reason: str | None = None


class NowOut(BaseModel):
    """How a live contact stands: `agents` are pairs of agent and what keeps it from being asked, nearest first.

    `need` is written as in a queue's policy; `unknown_agents` are those it asks for by name whom the router has never seen.
    """

    queue: str
    state: str
    order: str
    score: int | None
    priority: int
    step: int | None
    steps: int
    need: dict[str, Any]
    unknown_agents: list[str]
    agents: list[tuple[str, str]]
    reasons: dict[str, int]


class TraceOut(BaseModel):
    """Every decision about a contact, oldest first; `is_cut` when there were more. `now` while it is live."""

    contact_id: str
    state: str
    as_of_ms: int
    decisions: list[dict[str, Any]]
    is_cut: bool
    now: NowOut | None


def add_view_routes(app: FastAPI, *, views: Views, verifier: TokenVerifier, clock: Clock) -> None:
    """Put the routes on the app."""
    reader = require_role(verifier, clock, "admin", "supervisor")
    on_its_way = OnItsWay()  # of a contact that was posted a moment ago

    @app.get(
        "/v1/contacts/{contact_id}/wait",
        response_model=WaitOut,
        tags=["contacts"],
        responses=documented(NOT_FOUND, INVALID_REQUEST),
    )
    async def get_wait(
        contact_id: ContactId, request: Request, _: Annotated[Principal, Depends(reader)]
    ) -> Response | dict[str, Any]:
        """Position and wait, median and 90th percentile, at most five seconds old (role supervisor or admin)."""
        found = await on_its_way.look(
            lambda: views.wait(contact_id, request.headers), may_come=is_young(contact_id, clock.now_ms())
        )
        return answer(NOT_FOUND, f"There is no contact {contact_id} here.") if found is None else found

    @app.get(
        "/v1/contacts/{contact_id}/routing-trace",
        response_model=TraceOut,
        tags=["contacts"],
        responses=documented(NOT_FOUND, INVALID_REQUEST),
    )
    async def get_trace(
        contact_id: ContactId, request: Request, _: Annotated[Principal, Depends(reader)]
    ) -> Response | dict[str, Any]:
        """Every decision with its reason, and what keeps each agent from being asked now (role supervisor or admin)."""
        found = await on_its_way.look(
            lambda: views.trace(contact_id, request.headers), may_come=is_young(contact_id, clock.now_ms())
        )
        return answer(NOT_FOUND, f"There is no contact {contact_id} here.") if found is None else found
