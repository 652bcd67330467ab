"""What every service's settings have in common, and how settings are read: once, at the start, in `main.py`."""

import sys
from typing import TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Settings of any service. A secret may come as `<NAME>` or lie in a file of that name in `secrets_dir`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", secrets_dir=None)

    database_url: SecretStr
    kafka_bootstrap: str
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65_535)
    instance: str = Field("1", min_length=1, max_length=40)
    jwks_file: str
    token_issuer: str = "porchlight"  # noqa: S105 -- a name, not a secret
    token_audience: str = "porchlight"  # noqa: S105 -- a name, not a secret
    topic_prefix: str = ""
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    stop_timeout_s: float = Field(8.0, gt=0, le=60)


S = TypeVar("S", bound=ServiceSettings)


def read_settings(kind: type[S]) -> S:
    """The settings from the environment; ends the process with a line for each one missing or wrong."""
    try:
        return kind()
    except ValidationError as why:
        prefix = str(kind.model_config.get("env_prefix", ""))
        for error in why.errors(include_input=False, include_url=False):
            name = prefix + "__".join(str(part) for part in error["loc"]).upper()
            print(f"setting {name}: {error['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
