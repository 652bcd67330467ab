"""Request and response models of the HTTP face."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from common.contracts.agents import Presence

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Level = Annotated[int, Field(ge=0, le=100)]
COMMAND_ID = r"^[A-Za-z0-9_-]{8,64}$"


class Strict(BaseModel):
    """No unknown fields, no lax types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class SignIn(Strict):
    """How the agent starts."""

    presence: Presence = "away"


class SessionOut(BaseModel):
    """A session. Send `session_no` as the header Session-No with every call; poll within `lease_s` seconds."""

    agent_id: str
    session_no: int
    presence: Presence
    lease_s: float


class PresenceIn(Strict):
    """What the person says."""

    presence: Presence


class OfferOut(BaseModel):
    """A contact that the agent may take until `expires_at`. Answer with its `attempt`."""

    contact_id: str
    attempt: int
    queue: str
    channel: str
    priority: int
    units: int
    waiting_since: datetime
    expires_at: datetime


class HeldContact(BaseModel):
    """A contact that the agent holds. `ends_at`: when wrap-up ends, or the hold for a lost line."""

    contact_id: str
    attempt: int
    state: str
    queue: str
    channel: str
    units: int
    ends_at: datetime | None


class InboxOut(BaseModel):
    """What the agent has before it. Poll again with If-None-Match: <ETag> and Prefer: wait=25."""

    session_no: int
    routing_state: str
    routing_reason: str
    offers: list[OfferOut]
    contacts: list[HeldContact]
    as_of: datetime


class CommandIn(Strict):
    """`attempt` as in the inbox; `command_id` is yours: new for a new command, the same to repeat one."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"attempt": 1, "command_id": "0199a1b2-accept-1"}]},
    )

    attempt: int = Field(ge=1, le=1_000_000)
    command_id: str = Field(pattern=COMMAND_ID)


class CommandOut(BaseModel):
    """`done`, or `pending` when the router's answer takes longer: repeat the same command to learn it."""

    command_id: str
    outcome: str


class AgentIn(Strict):
    """An agent. `skills`: proficiency 0 to 100. `units`: capacity units; a call takes 6, a chat 2, an e-mail 1."""

    pool: Name
    skills: dict[Name, Level] = Field({}, max_length=100)
    units: int = Field(6, ge=1, le=60)
    enabled: bool = True


class AgentOut(AgentIn):
    """An agent as it stands."""

    agent_id: str
    presence: str


class AgentPage(BaseModel):
    """Agents in the order of their ids; `next` is the cursor of the next page."""

    items: list[AgentOut]
    next: str | None


class SkillOut(BaseModel):
    """A skill."""

    skill: str
