"""HTTP face for agent desktops: session, presence, inbox, commands."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import structlog
from fastapi import Depends, FastAPI, Header, Path, Request, Response
from fastapi.responses import JSONResponse

from agent_presence import metrics
from agent_presence.config import Settings
from agent_presence.domain import DONE, Command, Kept, Verb
from agent_presence.errors import (
    ALREADY_DONE,
    COMMAND_REUSED,
    NO_CAPACITY,
    NO_SUCH_TARGET,
    NOBODY_THERE,
    NOT_AN_AGENT,
    OFFER_OVER,
    REFUSALS,
    TOO_MANY_TRANSFERS,
    TOO_OFTEN,
)
from agent_presence.handlers import Commands, KnownSkills
from agent_presence.inboxes import Inboxes
from agent_presence.leases import Leases
from agent_presence.limits import POLL_AGAIN_S, AgentLimits
from agent_presence.models import CommandIn, CommandOut, InboxOut, LinkIn, PresenceIn, SessionOut, SignIn, TransferIn
from agent_presence.polling import Polling, known_tag
from agent_presence.ports import Sessions
from agent_presence.tail import Tail
from common.contracts.needs import BadNeed, parts, read_need
from common.runtime.auth import Principal, TokenVerifier
from common.runtime.borders import WHOLE
from common.runtime.clock import Clock
from common.runtime.http import departure, require_role
from common.runtime.outbox import Outbox
from common.runtime.problems import (
    INVALID_REQUEST,
    MALFORMED_JSON,
    NOT_FOUND,
    SESSION_MISSING,
    SESSION_OVER,
    TRY_AGAIN,
    answer,
    documented,
)

log = structlog.get_logger()

PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,4})")
TRANSFER_PROBLEMS = (NO_SUCH_TARGET, NOBODY_THERE, TOO_MANY_TRANSFERS)
ContactId = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the routes work with."""

    sessions: Sessions
    leases: Leases
    skills: KnownSkills
    commands: Commands
    inboxes: Inboxes
    polling: Polling
    limits: AgentLimits
    tail: Tail
    outbox: Outbox
    verifier: TokenVerifier
    clock: Clock
    settings: Settings


def add_routes(app: FastAPI, desk: Desk) -> None:
    """Put the agents' routes on the app."""
    agent = require_role(desk.verifier, desk.clock, "agent")
    _add_session_routes(app, desk, agent)
    _add_inbox_route(app, desk, agent)
    for path, verb, summary in (
        ("/v1/offers/{contact_id}/accept", "accept", "Take the contact that you were offered"),
        ("/v1/offers/{contact_id}/decline", "decline", "Let somebody else have the offer"),
        ("/v1/contacts/{contact_id}/respond", "respond", "The customer has a first response"),
        ("/v1/contacts/{contact_id}/pause", "pause", "The contact can wait; have your capacity for others"),
        ("/v1/contacts/{contact_id}/resume", "resume", "Go on with a contact that you paused"),
        ("/v1/contacts/{contact_id}/transfer", "transfer", "Pass the contact on to a queue, an agent, or other skills"),
        ("/v1/contacts/{contact_id}/complete", "complete", "The conversation is over"),
        ("/v1/contacts/{contact_id}/wrap-up/end", "end_wrap_up", "The work after the conversation is over"),
    ):
        _add_command_route(app, desk, agent, path=path, verb=verb, summary=summary)  # type: ignore[arg-type]


async def _session_number(session_no: Annotated[int, Header(ge=1, le=2_000_000_000), WHOLE]) -> int:
    return session_no


Number = Annotated[int, Depends(_session_number)]


def _add_session_routes(app: FastAPI, desk: Desk, agent: Any) -> None:
    incomer, changer = desk.limits.on_sign_in(agent), desk.limits.on_change(agent)

    @app.post(
        "/v1/session",
        status_code=201,
        response_model=SessionOut,
        tags=["session"],
        responses=documented(MALFORMED_JSON, INVALID_REQUEST, NOT_AN_AGENT, TOO_OFTEN),
    )
    async def sign_in(body: SignIn, who: Annotated[Principal, Depends(incomer)]) -> Response | dict[str, Any]:
        """Sign in. A new session ends the one before: its calls get 409 from now on."""
        done = await desk.sessions.sign_in(who.subject, body.presence)
        if done is None:
            return answer(NOT_AN_AGENT, "There is no enabled agent of that name.")
        session, rows = done
        desk.leases.signed_in(session)
        desk.outbox.hand_over(rows)
        log.info("agent_signed_in", agent_id=who.subject, session_no=session.session_no)
        return _session_out(who.subject, session.session_no, session.presence, desk)

    @app.put(
        "/v1/presence",
        response_model=SessionOut,
        tags=["session"],
        responses=documented(MALFORMED_JSON, INVALID_REQUEST, SESSION_MISSING, SESSION_OVER, TOO_OFTEN),
    )
    async def put_presence(
        body: PresenceIn, number: Number, who: Annotated[Principal, Depends(changer)]
    ) -> Response | dict[str, Any]:
        """Say what you do. `available` also makes you ready again after an offer that you did not answer."""
        if body.presence == "offline":
            return await sign_out(number, who)
        done = await desk.sessions.change(who.subject, session_no=number, presence=body.presence)
        if done is None:
            return answer(SESSION_OVER, f"Session {number} is over.")
        desk.outbox.hand_over(done[1])
        return _session_out(who.subject, number, body.presence, desk)

    @app.put(
        "/v1/link",
        response_model=SessionOut,
        tags=["session"],
        responses=documented(MALFORMED_JSON, INVALID_REQUEST, SESSION_MISSING, SESSION_OVER, TOO_OFTEN),
    )
    async def put_link(
        body: LinkIn, number: Number, who: Annotated[Principal, Depends(changer)]
    ) -> Response | dict[str, Any]:
        """Say how good your line is. Queues may ask for a minimum; a better line is offered contacts again at once."""
        done = await desk.sessions.change(who.subject, session_no=number, link_score=body.score)
        if done is None:
            return answer(SESSION_OVER, f"Session {number} is over.")
        desk.outbox.hand_over(done[1])
        return _session_out(who.subject, number, done[0].presence, desk)

    @app.delete(
        "/v1/session",
        response_model=SessionOut,
        tags=["session"],
        responses=documented(INVALID_REQUEST, SESSION_MISSING, SESSION_OVER),
    )
    async def sign_out(number: Number, who: Annotated[Principal, Depends(agent)]) -> Response | dict[str, Any]:
        """Sign out. Contacts that you still hold are kept for you for a while, then offered to others."""
        rows = await desk.sessions.sign_out(who.subject, number)
        if rows is None:
            return answer(SESSION_OVER, f"Session {number} is over.")
        desk.leases.over(who.subject, number)
        desk.outbox.hand_over(rows)
        return _session_out(who.subject, number, "offline", desk)


def _session_out(agent_id: str, number: int, presence: str, desk: Desk) -> dict[str, Any]:
    return {
        "agent_id": agent_id,
        "session_no": number,
        "presence": presence,
        "lease_s": desk.settings.lease_s,
    }


def _add_inbox_route(app: FastAPI, desk: Desk, agent: Any) -> None:
    @app.get(
        "/v1/inbox",
        response_model=InboxOut,
        tags=["inbox"],
        responses={
            304: {"description": "Nothing changed."},
            **documented(INVALID_REQUEST, SESSION_MISSING, SESSION_OVER, TOO_OFTEN),
        },
    )
    async def get_inbox(
        request: Request,
        number: Number,
        who: Annotated[Principal, Depends(agent)],
        if_none_match: Annotated[str | None, Header(max_length=400)] = None,
        prefer: Annotated[str | None, Header(max_length=200)] = None,
    ) -> Response:
        """Your offers and contacts. With If-None-Match and `Prefer: wait=25` it answers when something changes."""
        if not desk.tail.loaded:
            return answer(TRY_AGAIN, "The inboxes are being read; this takes a moment after a start.")
        if not await desk.leases.is_alive(who.subject, number):
            return answer(SESSION_OVER, f"Session {number} is over.")
        asked = PREFER_WAIT.search(prefer or "")
        wait_s = min(int(asked[1]), desk.settings.wait_max_s) if asked else 0.0
        headers = {"Cache-Control": "no-store"}
        if asked:
            headers["Preference-Applied"] = f"wait={int(wait_s)}"
        known = known_tag(if_none_match, desk.polling.etag(who.subject, number))
        with (
            metrics.long_polls.track_inprogress(),
            desk.limits.polls.one(who.subject, waits=wait_s > 0) as poll,
            departure(request) as is_gone,
        ):
            is_on = await desk.polling.changed(
                who.subject,
                number,
                known=known,
                wait_s=wait_s,
                is_gone=is_gone,
                gives_way=lambda: poll.gives_way,
            )
        if not is_on:
            return answer(SESSION_OVER, f"Session {number} is over.")
        headers["ETag"] = desk.polling.etag(who.subject, number)
        if headers["ETag"] == known and poll.gives_way:
            return answer(TOO_OFTEN, "Newer polls of yours wait here.", headers={"Retry-After": str(POLL_AGAIN_S)})
        if headers["ETag"] == known:
            return Response(status_code=304, headers=headers)
        return JSONResponse(_inbox(desk, who.subject, number), headers=headers)


def _inbox(desk: Desk, agent_id: str, number: int) -> dict[str, Any]:
    standing = desk.inboxes.standing(agent_id)
    items = desk.inboxes.items(agent_id)
    return {
        "session_no": number,
        "routing_state": "offline" if standing is None else standing.routing_state,
        "routing_reason": "" if standing is None else standing.reason,
        "offers": [
            {
                "contact_id": item.contact_id,
                "attempt": item.attempt,
                "queue": item.queue,
                "channel": item.channel,
                "priority": item.priority,
                "units": item.units,
                "waiting_since": _moment(item.routing_age_at_ms),
                "expires_at": _moment(item.due_ms or 0),
            }
            for item in items
            if item.state == "offered"
        ],
        "contacts": [
            {
                "contact_id": item.contact_id,
                "attempt": item.attempt,
                "state": item.state,
                "queue": item.queue,
                "channel": item.channel,
                "units": item.units,
                "ends_at": None if item.due_ms is None else _moment(item.due_ms),
            }
            for item in items
            if item.state != "offered"
        ],
        "as_of": _moment(desk.clock.now_ms()),
    }


def _add_command_route(app: FastAPI, desk: Desk, agent: Any, *, path: str, verb: Verb, summary: str) -> None:
    shape: Any = TransferIn if verb == "transfer" else CommandIn
    commander = desk.limits.on_command(agent)

    @app.post(
        path,
        response_model=CommandOut,
        summary=summary,
        operation_id=verb,
        tags=["commands"],
        responses={
            202: {"model": CommandOut, "description": "Kept; the router's answer takes longer."},
            **documented(
                MALFORMED_JSON,
                SESSION_MISSING,
                INVALID_REQUEST,
                COMMAND_REUSED,
                NOT_FOUND,
                OFFER_OVER,
                ALREADY_DONE,
                SESSION_OVER,
                TOO_OFTEN,
                *(TRANSFER_PROBLEMS if verb == "transfer" else ()),
                *((NO_CAPACITY,) if verb == "resume" else ()),
            ),
        },
    )
    async def command(
        contact_id: ContactId, body: shape, number: Number, who: Annotated[Principal, Depends(commander)]
    ) -> Response:
        """Idempotent by `command_id`. Too late is a normal answer: 409 with the reason."""
        target = await _target(body, desk.skills)
        if isinstance(target, Response):
            return target
        pool = await desk.sessions.pool_of(who.subject, number)
        if pool is None:
            return answer(SESSION_OVER, f"Session {number} is over.")
        desk.limits.take_stray(who.subject, contact_id, body.attempt)
        done = await desk.commands.ask(
            Command(
                agent_id=who.subject,
                command_id=body.command_id,
                session_no=number,
                pool=pool,
                verb=verb,
                contact_id=contact_id,
                attempt=body.attempt,
                issued_at_ms=desk.clock.now_ms(),
                **target,
            )
        )
        if done.kept is Kept.SESSION_OVER:
            return answer(SESSION_OVER, f"Session {number} is over.")
        if done.kept is Kept.REUSED:
            return answer(COMMAND_REUSED, "The command_id belongs to another command of yours.")
        if done.outcome is None:
            return JSONResponse({"command_id": body.command_id, "outcome": "pending"}, status_code=202)
        if done.outcome != DONE:
            return answer(REFUSALS[done.outcome], f"The router says: {done.outcome}.", reason=done.outcome)
        return JSONResponse({"command_id": body.command_id, "outcome": DONE})


async def _target(body: CommandIn, skills: KnownSkills) -> dict[str, Any] | Response:
    """Where a transfer goes, from the body. Raises `Retryable` when skills cannot be looked up."""
    if not isinstance(body, TransferIn):
        return {}
    need = None
    if body.need is not None:
        try:
            need = read_need(body.need)
            asked = {part.skill for part in parts(need) if part.skill}
            if asked:
                read_need(body.need, skills=await skills.among(asked))
        except BadNeed as why:
            errors = [{"pointer": "/need", "in": "body", "detail": str(why)}]
            return answer(INVALID_REQUEST, "The need cannot be met.", errors=errors)
    if body.to_queue is None and body.to_agent is None and need is None:
        errors = [{"pointer": "", "in": "body", "detail": "give to_queue, to_agent or need"}]
        return answer(INVALID_REQUEST, "A transfer needs somewhere to go.", errors=errors)
    return {"to_queue": body.to_queue or "", "to_agent": body.to_agent or "", "need": need}


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
