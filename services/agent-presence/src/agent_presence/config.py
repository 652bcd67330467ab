"""Settings of agent-presence; nothing else reads the environment."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from common.runtime.settings import ServiceSettings

SCHEMA = "0006"
"""The newest migration that this code was written for."""


class Settings(ServiceSettings):
    """`lease_s`: how long an agent is there after the last sign of life. `wait_max_s`: the longest long poll.

    What one agent may ask of one replica; more is 429: `polls_max` polls held at the same time (the oldest gives way),
    `sign_ins_per_min`, and `changes_per_s` each of commands and of changes of presence or line.
    """

    model_config = SettingsConfigDict(env_prefix="AGENT_PRESENCE_", frozen=True, extra="ignore")

    lease_s: float = Field(10.0, ge=1, le=300)
    wait_max_s: float = Field(25.0, ge=1, le=55)
    answer_wait_s: float = Field(5.0, ge=0.1, le=30)
    sweep_every_s: float = Field(0.5, ge=0.05, le=60)
    polls_max: int = Field(3, ge=1, le=1_000)
    sign_ins_per_min: int = Field(30, ge=1, le=100_000)
    changes_per_s: float = Field(50.0, gt=0, le=100_000)

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.sweep_every_s * 2 > self.lease_s:
            raise ValueError("sweep_every_s must be at most half of lease_s")
        return self
