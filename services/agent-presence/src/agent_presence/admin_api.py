"""HTTP face for administrators: agents and skills."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Response

from agent_presence.domain import Profile
from agent_presence.errors import AGENT_SIGNED_IN, UNKNOWN_SKILL
from agent_presence.models import AgentIn, AgentOut, AgentPage, Limits, SkillOut
from agent_presence.ports import Directory, Sessions
from common.contracts.agents import AGENT_ID, AGENT_ID_CHARS_MAX
from common.runtime.auth import Principal, TokenVerifier
from common.runtime.borders import WHOLE
from common.runtime.clock import Clock
from common.runtime.http import require_role
from common.runtime.outbox import Outbox
from common.runtime.problems import INVALID_REQUEST, MALFORMED_JSON, NOT_FOUND, answer, documented

TRAITS = ("languages", "region", "attributes", "channel_max", "auto_accept", "offer_extra_ms")
NamePath = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
AgentPath = Annotated[str, Path(pattern=AGENT_ID)]


def add_admin_routes(
    app: FastAPI,
    *,
    directory: Directory,
    sessions: Sessions,
    outbox: Outbox,
    verifier: TokenVerifier,
    clock: Clock,
) -> None:
    """Put the administrators' routes on the app."""
    admin = require_role(verifier, clock, "admin")
    reader = require_role(verifier, clock, "admin", "supervisor")

    @app.put("/v1/skills/{skill}", response_model=SkillOut, tags=["admin"], responses=documented(INVALID_REQUEST))
    async def put_skill(skill: NamePath, who: Annotated[Principal, Depends(admin)]) -> dict[str, Any]:
        """Define a skill (role admin)."""
        outbox.hand_over(await directory.put_skill(skill, actor=who.subject))
        return {"skill": skill}

    @app.get("/v1/skills", response_model=list[SkillOut], tags=["admin"], responses=documented())
    async def list_skills(_: Annotated[Principal, Depends(reader)]) -> list[dict[str, Any]]:
        """All skills (role supervisor or admin)."""
        return [{"skill": skill} for skill in await directory.skills()]

    @app.put(
        "/v1/agents/{agent_id}",
        response_model=AgentOut,
        tags=["admin"],
        responses=documented(MALFORMED_JSON, INVALID_REQUEST, UNKNOWN_SKILL, AGENT_SIGNED_IN),
    )
    async def put_agent(
        agent_id: AgentPath,
        body: AgentIn,
        who: Annotated[Principal, Depends(admin)],
        dry_run: Annotated[bool, Query()] = False,
    ) -> Response | dict[str, Any]:
        """Define or change an agent (role admin). A signed-in agent's new skills count at once.

        `enabled: false` ends the agent's session: its calls get 409 `session-over`, a new sign-in 403; offers go back, and
        held contacts are kept for the queue's grace, then offered to others. With `dry_run` nothing is saved: the answer
        says what the agent would be.
        """
        missing = sorted(set(body.skills) - set(await directory.skills()))
        if missing:
            return answer(UNKNOWN_SKILL, f"There is no skill {', '.join(missing)}.")
        values = body.model_dump()
        if dry_run:
            there = await directory.get_agent(agent_id) or {"pool": body.pool, "presence": "offline", "limits": {}}
            presence = there["presence"] if body.enabled else "offline"
            if there["pool"] != body.pool and presence != "offline":
                return answer(AGENT_SIGNED_IN, f"{agent_id} is signed in and cannot change its pool now.")
            kept = _shown(there) if body.enabled else {"limits": there["limits"]}
            return {**kept, **values, "agent_id": agent_id, "presence": presence}
        traits = {name: values.pop(name) for name in TRAITS}
        profile = Profile(agent_id=agent_id, **values, traits=traits)
        told = await directory.put_agent(profile, actor=who.subject)
        if told is None:
            return answer(AGENT_SIGNED_IN, f"{agent_id} is signed in and cannot change its pool now.")
        outbox.hand_over(told)
        changed = await sessions.change(agent_id, session_no=None)
        if changed is not None:
            outbox.hand_over(changed[1])
        return _shown(await directory.get_agent(agent_id) or {})

    @app.delete(
        "/v1/agents/{agent_id}/session",
        response_model=AgentOut,
        tags=["admin"],
        responses=documented(NOT_FOUND, INVALID_REQUEST),
    )
    async def end_session(agent_id: AgentPath, who: Annotated[Principal, Depends(reader)]) -> Response | dict[str, Any]:
        """Sign an agent out (role supervisor or admin); audited. Offers go back, held contacts are kept for the grace.

        The agent may sign in again; to keep an agent out, disable it. Done already is done."""
        outbox.hand_over(await directory.end_session(agent_id, actor=who.subject))
        found = await directory.get_agent(agent_id)
        return answer(NOT_FOUND, f"There is no agent {agent_id}.") if found is None else _shown(found)

    @app.put(
        "/v1/agents/{agent_id}/limits",
        response_model=AgentOut,
        tags=["admin"],
        responses=documented(MALFORMED_JSON, NOT_FOUND, INVALID_REQUEST),
    )
    async def put_limits(
        agent_id: AgentPath, body: Limits, who: Annotated[Principal, Depends(admin)]
    ) -> Response | dict[str, Any]:
        """Where the agent's time ends: break, shift, hours (role admin). Counts at once, for the next offer."""
        limits = body.model_dump(exclude_defaults=True)
        if not await directory.put_limits(agent_id, limits, actor=who.subject):
            return answer(NOT_FOUND, f"There is no agent {agent_id}.")
        changed = await sessions.change(agent_id, session_no=None)
        if changed is not None:
            outbox.hand_over(changed[1])
        return _shown(await directory.get_agent(agent_id) or {})

    @app.get("/v1/agents", response_model=AgentPage, tags=["admin"], responses=documented(INVALID_REQUEST))
    async def list_agents(
        _: Annotated[Principal, Depends(reader)],
        cursor: Annotated[str, Query(max_length=AGENT_ID_CHARS_MAX)] = "",
        limit: Annotated[int, Query(ge=1, le=200), WHOLE] = 50,
    ) -> dict[str, Any]:
        """All agents (role supervisor or admin)."""
        found = await directory.list_agents(after=cursor, limit=limit)
        return {"items": [_shown(one) for one in found], "next": found[-1]["agent_id"] if len(found) == limit else None}

    @app.get(
        "/v1/agents/{agent_id}",
        response_model=AgentOut,
        tags=["admin"],
        responses=documented(NOT_FOUND, INVALID_REQUEST),
    )
    async def get_agent(agent_id: AgentPath, _: Annotated[Principal, Depends(reader)]) -> Response | dict[str, Any]:
        """One agent, and whether offers come and why not (role supervisor or admin)."""
        found = await directory.get_agent(agent_id)
        return answer(NOT_FOUND, f"There is no agent {agent_id}.") if found is None else _shown(found)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its traits in their places."""
    found = dict(row)
    traits = found.pop("traits", {})
    return {**found, **traits}
