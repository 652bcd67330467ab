"""Settings of intake; nothing else reads the environment."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from common.runtime.settings import ServiceSettings

SCHEMA = "0008"
"""The newest migration that this code was written for."""


class Settings(ServiceSettings):
    """`key_pepper`: the secret that API keys are hashed with; losing it makes every key worthless.

    `key_requests_per_s` and `key_burst`: what one API key may ask of one replica. `waiting_max`: contacts of one client that
    are with no agent yet, on all replicas.
    """

    model_config = SettingsConfigDict(env_prefix="INTAKE_", frozen=True, extra="ignore")

    key_pepper: SecretStr = Field(min_length=32)
    key_requests_per_s: float = Field(1_000.0, gt=0, le=100_000)
    key_burst: int = Field(2_000, ge=1, le=1_000_000)
    waiting_max: int = Field(50_000, ge=1, le=10_000_000)
    reconcile_after_ms: int = Field(3_000, ge=500, le=600_000)
