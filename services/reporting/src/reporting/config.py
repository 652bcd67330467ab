"""Settings of reporting; nothing else reads the environment."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from common.runtime.settings import ServiceSettings

SCHEMA = "0003"
"""The newest migration that this code was written for."""


class Settings(ServiceSettings):
    """`status_links`: what the status page points to, as pairs `name=url` with commas between."""

    model_config = SettingsConfigDict(env_prefix="REPORTING_", frozen=True, extra="ignore")

    status_links: str = Field("", max_length=2_000)
