"""HTTP face for administrators: API keys of channel integrations."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from common.runtime.auth import Principal, TokenVerifier
from common.runtime.borders import WHOLE
from common.runtime.clock import Clock
from common.runtime.http import require_role
from common.runtime.problems import INVALID_REQUEST, MALFORMED_JSON, NOT_FOUND, answer, documented
from intake.domain import Scope
from intake.errors import KEY_OVER
from intake.ports import Keys

KeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$")]
Client = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
NEW_KEY_SCOPES: list[Scope] = ["post", "read"]
NO_STORE = {"Cache-Control": "no-store"}


def _parse(value: object) -> object:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


Moment = Annotated[AwareDatetime, BeforeValidator(_parse)]
Scopes = Annotated[
    list[Scope],
    Field(
        min_length=1,
        max_length=3,
        description="`post`: post, cancel, call back. `read`: read and list. `priority`: post with a priority above 0.",
    ),
]


class KeyIn(BaseModel):
    """A key to be made. `client`: whose contacts it posts and sees; several keys may have the same one."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"client": "switchboard", "scopes": ["post", "read"]}]},
    )

    client: Client
    scopes: Scopes = NEW_KEY_SCOPES
    expires_at: Moment | None = None


class KeyChange(BaseModel):
    """What the key may do from now on, and until when."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"scopes": ["post"], "expires_at": "2027-01-01T00:00:00Z"}]},
    )

    scopes: Scopes
    expires_at: Moment | None


class RotateIn(BaseModel):
    """How long the secret of before stays valid beside the new one."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"grace_s": 86_400}]})

    grace_s: int = Field(86_400, ge=0, le=2_592_000)


class KeyOut(BaseModel):
    """A key, without its secret. `last_used_at` is right to a minute."""

    key_id: str
    client: str
    scopes: list[str]
    state: str = Field(description="active, revoked, expired")
    created_at: datetime
    expires_at: datetime | None
    rotated_at: datetime | None
    previous_until: datetime | None = Field(description="Until then the secret of before the rotation is valid, too.")
    last_used_at: datetime | None
    revoked_at: datetime | None


class KeyMade(KeyOut):
    """A key and its credential, which is shown once: only its hash is kept."""

    key: str


class KeyPage(BaseModel):
    """Keys in the order of their ids; `next` is the cursor of the next page."""

    items: list[KeyOut]
    next: str | None


def add_admin_routes(app: FastAPI, *, keys: Keys, verifier: TokenVerifier, clock: Clock) -> None:
    """Put the administrators' routes on the app."""
    admin = require_role(verifier, clock, "admin")

    @app.post(
        "/v1/keys",
        status_code=201,
        response_model=KeyMade,
        tags=["admin"],
        responses=documented(MALFORMED_JSON, INVALID_REQUEST),
    )
    async def make_key(body: KeyIn, who: Annotated[Principal, Depends(admin)], response: Response) -> dict[str, Any]:
        """Make an API key (role admin). Its credential is in this answer only."""
        key, row = await keys.make(
            client=body.client, scopes=sorted(set(body.scopes)), expires_at=body.expires_at, actor=who.subject
        )
        response.headers.update(NO_STORE)
        return {**row, "key": key}

    @app.get("/v1/keys", response_model=KeyPage, tags=["admin"], responses=documented(INVALID_REQUEST))
    async def list_keys(
        _: Annotated[Principal, Depends(admin)],
        cursor: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1, le=200), WHOLE] = 50,
    ) -> dict[str, Any]:
        """All API keys, without their secrets (role admin)."""
        rows = await keys.page(after=cursor, limit=limit)
        return {"items": rows, "next": rows[-1]["key_id"] if len(rows) == limit else None}

    @app.post(
        "/v1/keys/{key_id}/rotate",
        response_model=KeyMade,
        tags=["admin"],
        responses=documented(MALFORMED_JSON, INVALID_REQUEST, KEY_OVER),
    )
    async def rotate_key(
        key_id: KeyId, body: RotateIn, who: Annotated[Principal, Depends(admin)], response: Response
    ) -> Response | dict[str, Any]:
        """Give a key a new secret; the one of before stays valid for the grace (role admin)."""
        done = await keys.rotate(key_id, grace=timedelta(seconds=body.grace_s), actor=who.subject)
        if done is None:
            return answer(KEY_OVER, f"There is no key {key_id} that is in force.")
        response.headers.update(NO_STORE)
        return {**done[1], "key": done[0]}

    @app.put(
        "/v1/keys/{key_id}",
        response_model=KeyOut,
        tags=["admin"],
        responses=documented(MALFORMED_JSON, INVALID_REQUEST, KEY_OVER),
    )
    async def change_key(
        key_id: KeyId, body: KeyChange, who: Annotated[Principal, Depends(admin)]
    ) -> Response | dict[str, Any]:
        """Set what a key may do and when it expires (role admin). In force within five seconds, everywhere."""
        row = await keys.change(key_id, scopes=sorted(set(body.scopes)), expires_at=body.expires_at, actor=who.subject)
        return answer(KEY_OVER, f"There is no key {key_id} that is in force.") if row is None else row

    @app.post(
        "/v1/keys/{key_id}/revoke",
        response_model=KeyOut,
        tags=["admin"],
        responses=documented(INVALID_REQUEST, NOT_FOUND),
    )
    async def revoke_key(key_id: KeyId, who: Annotated[Principal, Depends(admin)]) -> Response | dict[str, Any]:
        """End a key for good, both secrets of it, within five seconds, everywhere (role admin). Again is no mistake."""
        row = await keys.revoke(key_id, actor=who.subject)
        return answer(NOT_FOUND, f"There is no key {key_id}.") if row is None else row
