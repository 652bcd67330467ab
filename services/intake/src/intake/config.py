"""Settings of intake; nothing else reads the environment."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from common.runtime.settings import ServiceSettings

SCHEMA = "0006"
"""The newest migration that this code was written for."""


class Settings(ServiceSettings):
    """`key_pepper`: the secret that API keys are hashed with; losing it makes every key worthless."""

    model_config = SettingsConfigDict(env_prefix="INTAKE_", frozen=True, extra="ignore")

    key_pepper: SecretStr = Field(min_length=32)
    reconcile_after_ms: int = Field(3_000, ge=500, le=600_000)
