"""Request and response models of the HTTP face."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from common.contracts.agents import AGENT_ID, Presence
from common.contracts.contacts import Channel

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
AgentId = Annotated[str, Field(pattern=AGENT_ID)]
Level = Annotated[int, Field(ge=0, le=100)]
COMMAND_ID = r"^[A-Za-z0-9_-]{8,64}$"


class Strict(BaseModel):
    """No unknown fields, no lax types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class SignIn(Strict):
    """How the agent starts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"presence": "available"}]})

    presence: Presence = "away"


class SessionOut(BaseModel):
    """A session. Send `session_no` as the header Session-No with every call; poll within `lease_s` seconds."""

    agent_id: str
    session_no: int
    presence: Presence
    lease_s: float


class PresenceIn(Strict):
    """What the person says."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"presence": "break"}]})

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
    """What the agent has before it. Poll again with If-None-Match: <ETag> and Prefer: wait=25.

    `routing_reason` says why offers come or do not: while the agent is `ready`, `available`, or what keeps every contact from
    them (`break_due`, `shift_ends`, `hours_denied` or planning's own word, `premium_hours`, `link_score`, `capacity`,
    `channel_max`, `fair_share`).
    """

    session_no: int
    routing_state: str
    routing_reason: str
    offers: list[OfferOut]
    contacts: list[HeldContact]
    as_of: datetime


class CommandIn(Strict):
    """`attempt` as in the inbox; `command_id` is yours: new for a new command, the same to repeat one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"attempt": 1, "command_id": "0199a1b2-accept-1"}]})

    attempt: int = Field(ge=1, le=1_000_000)
    command_id: str = Field(pattern=COMMAND_ID)


class CommandOut(BaseModel):
    """`done`, or `pending` when the router's answer takes longer: repeat the same command to learn it."""

    command_id: str
    outcome: str


MOMENT_MIN_MS = 978_307_200_000
"""2001-01-01: what lies before was meant in seconds."""
MOMENT_MAX_MS = 4_102_444_800_000
"""2100-01-01: what lies after was meant in microseconds."""
Moment = Annotated[int, Field(ge=MOMENT_MIN_MS, le=MOMENT_MAX_MS)]


class Limits(Strict):
    """Where the agent's time ends, as times in milliseconds since 1970, from 2001 to 2100; none: no such limit.

    No offer is made that would run past a break, the end of the shift, or the hours that law and plan allow
    (`denied_from_ms`, with `denied_reason`). From `premium_from_ms` on the work costs a premium. A limit that is past keeps
    offers from the agent, who reads why in the inbox's `routing_reason`.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"shift_ends_ms": 1_795_640_400_000, "break_due_ms": 1_795_629_600_000}]}
    )

    shift_ends_ms: Moment | None = None
    break_due_ms: Moment | None = None
    premium_from_ms: Moment | None = None
    denied_from_ms: Moment | None = None
    denied_reason: str = Field("", max_length=64, pattern=r"^[a-z0-9_]*$")


class KeptLimits(BaseModel):
    """Limits as they are kept; those of long ago may be of any size."""

    shift_ends_ms: int | None = None
    break_due_ms: int | None = None
    premium_from_ms: int | None = None
    denied_from_ms: int | None = None
    denied_reason: str = ""


class LinkIn(Strict):
    """What the desktop measured of its line: 100 is perfect, 0 is dead."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"score": 87}]})

    score: int = Field(ge=0, le=100)


class TransferIn(CommandIn):
    """Where the contact goes: `to_queue`, `to_agent`, or with neither back into its queue for who meets `need`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"attempt": 1, "command_id": "0199a1b2-pass-1", "to_queue": "billing"}],
            "anyOf": [
                {"required": [name], "properties": {name: {"type": kind}}}
                for name, kind in (("to_queue", "string"), ("to_agent", "string"), ("need", "object"))
            ],
        }
    )

    to_queue: Name | None = None
    to_agent: AgentId | None = None
    need: dict[str, Any] | None = Field(None, description="See the queue's policy: skill, language, all, any, not.")


class AgentIn(Strict):
    """An agent. `skills`: proficiency 0 to 100. `units`: capacity units; a call takes 6, a chat 2, an e-mail 1.

    `channel_max`: contacts of a channel at a time, whatever the units allow; `offer_extra_ms`: more time to answer offers.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"pool": "retail", "skills": {"billing": 80, "spanish": 60}, "languages": ["en", "es"]}]
        }
    )

    pool: Name
    skills: dict[Name, Level] = Field({}, max_length=100)
    units: int = Field(6, ge=1, le=60)
    enabled: bool = True
    languages: list[Name] = Field([], max_length=20)
    region: str = Field("", max_length=32, pattern=r"^[A-Za-z0-9-]*$")
    attributes: dict[Name, Name] = Field({}, max_length=20)
    channel_max: dict[Channel, Annotated[int, Field(ge=0, le=60)]] = Field({}, max_length=7)
    auto_accept: bool = False
    offer_extra_ms: int = Field(0, ge=0, le=60_000)


class AgentOut(AgentIn):
    """An agent as it stands; one that was defined long ago may name channels that there are not.

    `routing_state` and `routing_reason` as in the agent's inbox; `link_score` and `session_since` only while signed in.
    """

    channel_max: dict[str, int] = {}  # type: ignore[assignment]
    agent_id: str
    presence: str
    limits: KeptLimits
    routing_state: str = "offline"
    routing_reason: str = ""
    link_score: int | None = None
    session_since: datetime | None = None


class AgentPage(BaseModel):
    """Agents in the order of their ids; `next` is the cursor of the next page."""

    items: list[AgentOut]
    next: str | None


class SkillOut(BaseModel):
    """A skill."""

    skill: str
