"""Settings of agent-presence; nothing else reads the environment."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from common.runtime.settings import ServiceSettings

SCHEMA = "0005"
"""The newest migration that this code was written for."""


class Settings(ServiceSettings):
    """`lease_s`: how long an agent is there after the last sign of life. `wait_max_s`: the longest long poll."""

    model_config = SettingsConfigDict(env_prefix="AGENT_PRESENCE_", frozen=True, extra="ignore")

    lease_s: float = Field(10.0, ge=1, le=300)
    wait_max_s: float = Field(25.0, ge=1, le=55)
    answer_wait_s: float = Field(5.0, ge=0.1, le=30)
    sweep_every_s: float = Field(0.5, ge=0.05, le=60)

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.sweep_every_s * 2 > self.lease_s:
            raise ValueError("sweep_every_s must be at most half of lease_s")
        return self
