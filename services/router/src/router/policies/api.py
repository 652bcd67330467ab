"""HTTP face of the router: queue administration and queue state."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from common.contracts.config import QueueDefined
from common.contracts.needs import NESTING_MAX, is_nested_too_deep, parts
from common.contracts.policies import QueuePolicy, policy_schema
from common.runtime.auth import Principal, TokenVerifier
from common.runtime.borders import WHOLE, YES_OR_NO
from common.runtime.clock import Clock
from common.runtime.http import require_role
from common.runtime.on_its_way import OnItsWay
from common.runtime.outbox import OutboxRow
from common.runtime.problems import INVALID_REQUEST, MALFORMED_JSON, NOT_FOUND, answer, documented
from router.core.rules.criteria import skills_need
from router.errors import POLICY_CANNOT_WORK, POOL_IS_FIXED
from router.policies.ports import Judge, Queues
from router.policies.validation import Fault, Known, vet

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
NamePath = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]


POLICY_SCHEMA = policy_schema()


class RequirementIn(BaseModel):
    """The agent must have the skill at this level or better."""

    model_config = ConfigDict(extra="forbid", strict=True)

    skill: Name
    min_level: int = Field(0, ge=0, le=100)


class QueueIn(BaseModel):
    """A queue's policy. Times in milliseconds."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"pool": "retail", "requirements": [{"skill": "billing", "min_level": 50}]}]},
    )

    pool: Name = Field(description="The unit inside which any agent may get any contact; fixed.")
    requirements: list[RequirementIn] = Field([], max_length=16)
    priority: int = Field(0, ge=0, le=1_000, description="Of contacts that bring none; higher wins.")
    offer_timeout_ms: int = Field(20_000, ge=1_000, le=600_000)
    wrap_up_ms: int = Field(0, ge=0, le=3_600_000, description="0: no wrap-up.")
    link_grace_ms: int = Field(
        15_000, ge=0, le=600_000, description="How long a contact is held for an agent whose line is lost."
    )
    service_level_ms: int = Field(20_000, ge=1, le=86_400_000, description="Answered within this is in time.")
    policy: dict[str, Any] = Field(
        {},
        description="How contacts are ordered, whom they need, who is asked, and what happens when they wait; "
        "every part has a default. See docs/routing.md.",
        json_schema_extra={"properties": POLICY_SCHEMA, "additionalProperties": False},
    )


class QueueOut(QueueIn):
    """A queue as it stands."""

    id: str
    version: int


class QueueState(QueueOut):
    """A queue and its live contacts by state."""

    contacts: dict[str, int]


class QueuePage(BaseModel):
    """Queues in the order of their ids; `next` is the cursor of the next page."""

    items: list[QueueOut]
    next: str | None


def _out(fact: QueueDefined) -> dict[str, Any]:
    values = msgspec.to_builtins(fact)
    values["id"] = values.pop("queue")
    values["requirements"] = list(values["requirements"])
    values.pop("type", None)
    return dict(values)


async def _policy_of(
    queues: Queues, queue_id: str, body: QueueIn, scorers: frozenset[str], on_its_way: OnItsWay
) -> tuple[QueuePolicy, Judge] | Response:
    """The policy that was asked for, and who judges it once more when it is saved; or what is wrong with it."""
    if is_nested_too_deep(body.policy):
        errors = [{"pointer": "/policy", "in": "body", "detail": f"is nested more than {NESTING_MAX} levels deep"}]
        return answer(INVALID_REQUEST, "The policy does not fit its schema.", errors=errors)
    try:
        policy = msgspec.convert(body.policy, QueuePolicy)
    except msgspec.ValidationError as why:
        text, _, path = str(why).partition(" - at `$")
        place = "/policy" + path.rstrip("`").replace(".", "/").replace("[", "/").replace("]", "")
        errors = [{"pointer": place, "in": "body", "detail": text}]
        return answer(INVALID_REQUEST, "The policy does not fit its schema.", errors=errors)
    skills, policies = await _known(queues, body, policy, on_its_way)
    base = skills_need(tuple((one.skill, one.min_level) for one in body.requirements))

    def judge(others: Mapping[str, QueuePolicy]) -> list[Fault]:
        return vet(queue_id, base, policy, Known(skills=skills, queues=others, scorers=scorers))

    faults = judge(policies)
    faults += [Fault("", f"there is no skill {one.skill}") for one in body.requirements if one.skill not in skills]
    return _cannot_work(faults) if faults else (policy, judge)


def _cannot_work(faults: list[Fault]) -> Response:
    listed = [{"pointer": _pointer(fault), "in": "body", "detail": fault.reason} for fault in faults[:20]]
    return answer(POLICY_CANNOT_WORK, f"{len(faults)} place(s) cannot work.", errors=listed)


async def _known(
    queues: Queues, body: QueueIn, policy: QueuePolicy, on_its_way: OnItsWay
) -> tuple[set[str], dict[str, QueuePolicy]]:
    """Skills and queues that exist. A skill that was defined a moment ago is waited for: its fact is on the way."""
    wanted = {one.skill for one in body.requirements} | set(policy.choice.weights)
    for need in (policy.need, *(step.need for step in policy.steps)):
        wanted |= {part.skill for part in parts(need) if part.skill}
    seen: tuple[set[str], dict[str, QueuePolicy]] = await queues.known(body.pool)

    async def all_there() -> bool | None:
        nonlocal seen
        seen = await queues.known(body.pool)
        return True if wanted <= seen[0] else None

    if not wanted <= seen[0]:
        await on_its_way.look(all_there)
    return seen


def _pointer(fault: Fault) -> str:
    if not fault.path:
        return "/requirements"
    return "/policy/" + fault.path.replace(".", "/").replace("[", "/").replace("]", "")


def add_routes(
    app: FastAPI,
    *,
    queues: Queues,
    verifier: TokenVerifier,
    clock: Clock,
    hand_over: Callable[[list[OutboxRow]], None],
    scorers: frozenset[str],
) -> None:
    """Put the routes on the app."""
    admin = require_role(verifier, clock, "admin")
    reader = require_role(verifier, clock, "admin", "supervisor")
    on_its_way = OnItsWay()

    @app.put(
        "/v1/queues/{queue_id}",
        response_model=QueueOut,
        tags=["queues"],
        responses=documented(MALFORMED_JSON, INVALID_REQUEST, POLICY_CANNOT_WORK, POOL_IS_FIXED),
    )
    async def put_queue(
        queue_id: NamePath,
        body: QueueIn,
        who: Annotated[Principal, Depends(admin)],
        dry_run: Annotated[bool, Query(), YES_OR_NO] = False,
    ) -> Response | dict[str, Any]:
        """Define or change a queue (role admin). Contacts that wait follow the new policy at once.

        With `dry_run` nothing is saved: the answer says what the queue would be.
        """
        found = await _policy_of(queues, queue_id, body, scorers, on_its_way)
        if isinstance(found, Response):
            return found
        policy, judge = found
        values = body.model_dump()
        values["policy"] = msgspec.to_builtins(policy)
        if dry_run:
            return {**values, "id": queue_id, "version": 0}
        values["requirements"] = sorted((r.skill, r.min_level) for r in body.requirements)
        done = await queues.put(queue_id, values, actor=who.subject, judge=judge)
        if isinstance(done, list):
            return _cannot_work(done)
        if done is None:
            return answer(POOL_IS_FIXED, f"The queue {queue_id} lies in another pool than {body.pool}.")
        fact, event = done
        hand_over([event])
        return _out(fact)

    @app.get("/v1/queues", response_model=QueuePage, tags=["queues"], responses=documented(INVALID_REQUEST))
    async def list_queues(
        _: Annotated[Principal, Depends(reader)],
        cursor: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1, le=200), WHOLE] = 50,
    ) -> dict[str, Any]:
        """All queues (role supervisor or admin)."""
        found = await queues.list_all(after=cursor, limit=limit)
        return {
            "items": [_out(one) for one in found],
            "next": found[-1].queue if len(found) == limit else None,
        }

    @app.get(
        "/v1/queues/{queue_id}",
        response_model=QueueState,
        tags=["queues"],
        responses=documented(NOT_FOUND, INVALID_REQUEST),
    )
    async def get_queue(queue_id: NamePath, _: Annotated[Principal, Depends(reader)]) -> Response | dict[str, Any]:
        """One queue and how many live contacts it has by state (role supervisor or admin)."""
        found = await queues.get(queue_id)
        if found is None:
            return answer(NOT_FOUND, f"There is no queue {queue_id}.")
        return {**_out(found[0]), "contacts": found[1]}
