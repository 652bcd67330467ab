"""What every service's settings have in common, and how settings are read: once, at the start, in `main.py`.

A secret may come as a variable, or lie in a file of its name in lower case in the folder `PORCHLIGHT_SECRETS_DIR`.
"""

import os
import socket
import stat
import sys
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.runtime.auth import TokenVerifier
from common.runtime.connections import ConnectionLimits
from common.runtime.kafka import Mechanism, Security

SECRETS_DIR = "PORCHLIGHT_SECRETS_DIR"
ORIGINS = r"^(https?://[A-Za-z0-9.\-:\[\]]+(,https?://[A-Za-z0-9.\-:\[\]]+)*)?$"
"""Scheme, name and port; no path, and no `*`."""


class ServiceSettings(BaseSettings):
    """Settings of any service. `clock_skew_max_s`: how far our clock may be from the database's; beyond it the service is not
    ready, because the waits that it tells would be wrong. `drain_s`: how long a stopping instance is not ready and still answers.
    `connections_max`, `head_bytes_max`, `head_timeout_s`, `body_timeout_s`, `keep_alive_s`: see `ConnectionLimits`.
    `token_life_max_s`: a token that was made to live longer is refused. `cors_origins`: origins
    whose pages may ask, with commas between.
    `metrics_open`: whether /metrics answers everybody who reaches the port; else this machine only."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    database_url: SecretStr
    database_password: SecretStr = SecretStr("")
    kafka_bootstrap: str
    kafka_ca_file: str = ""
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_mechanism: Mechanism = "PLAIN"
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65_535)
    instance: str = Field(default_factory=socket.gethostname, min_length=1, max_length=40)
    jwks_file: str
    token_issuer: str = "porchlight"  # noqa: S105 -- a name, not a secret
    token_audience: str = "porchlight"  # noqa: S105 -- a name, not a secret
    token_life_max_s: int = Field(86_400, ge=60, le=604_800)
    cors_origins: str = Field("", max_length=2_000, pattern=ORIGINS)
    metrics_open: bool = False
    topic_prefix: str = ""
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    traces_url: str = Field("", description="An OTLP/HTTP receiver; empty: no traces.")
    traces_share: float = Field(1.0, ge=0, le=1)
    clock_skew_max_s: float = Field(60.0, ge=1, le=3_600)
    connections_max: int = Field(8_000, ge=1, le=1_000_000)
    head_bytes_max: int = Field(16_384, ge=4_096, le=1_048_576)
    head_timeout_s: float = Field(10.0, gt=0, le=120)
    body_timeout_s: float = Field(10.0, gt=0, le=120)
    keep_alive_s: float = Field(75.0, ge=1, le=3_600)
    drain_s: float = Field(0.0, ge=0, le=30)
    stop_timeout_s: float = Field(8.0, gt=0, le=60)

    @property
    def kafka_security(self) -> Security:
        """How to reach Kafka."""
        return Security(
            ca_file=self.kafka_ca_file,
            username=self.kafka_username,
            password=self.kafka_password.get_secret_value(),
            mechanism=self.kafka_mechanism,
        )

    @property
    def origins(self) -> list[str]:
        """Origins whose pages may ask."""
        return [origin for origin in self.cors_origins.split(",") if origin]

    def token_verifier(self) -> TokenVerifier:
        """Judges tokens as these settings say."""
        return TokenVerifier(
            jwks_file=self.jwks_file,
            issuer=self.token_issuer,
            audience=self.token_audience,
            life_max_s=self.token_life_max_s,
        )

    @property
    def connection_limits(self) -> ConnectionLimits:
        """What an HTTP connection to this instance may take."""
        return ConnectionLimits(
            connections_max=self.connections_max,
            head_bytes_max=self.head_bytes_max,
            head_s=self.head_timeout_s,
            body_s=self.body_timeout_s,
            keep_alive_s=self.keep_alive_s,
        )

    @property
    def own_url(self) -> str:
        """Where other instances reach this one."""
        everywhere = self.host in ("0.0.0.0", "::")  # noqa: S104 -- compared, not bound
        return f"http://{socket.gethostname() if everywhere else self.host}:{self.port}"

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> Self:
        if self.kafka_username and self.kafka_mechanism == "PLAIN" and not self.kafka_ca_file:
            raise ValueError(
                "KAFKA_USERNAME needs KAFKA_CA_FILE, or KAFKA_MECHANISM=SCRAM-SHA-512: a password is not sent on an open line"
            )
        return self

    @property
    def dsn(self) -> str:
        """The database's address with its password."""
        return with_password(self.database_url.get_secret_value(), self.database_password.get_secret_value())


def with_password(url: str, password: str) -> str:
    """The address with the password put in; as it is when there is none to put in."""
    if not password:
        return url
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{quote(password, safe='')}@{place}"))


S = TypeVar("S", bound=ServiceSettings)


def read_settings(kind: type[S]) -> S:
    """The settings from the environment and the secrets' folder; ends the process with a line for each one missing or wrong."""
    prefix = str(kind.model_config.get("env_prefix", ""))
    folder = os.environ.get(SECRETS_DIR)
    trouble = _trouble_with(folder, prefix) if folder else []
    if not trouble:
        try:
            return kind(_secrets_dir=folder)
        except ValidationError as why:
            for error in why.errors(include_input=False, include_url=False):
                name = prefix + "__".join(str(part) for part in error["loc"]).upper()
                trouble.append(f"setting {name}: {error['msg']}{_where(folder, name)}")
    print("\n".join(trouble), file=sys.stderr)
    raise SystemExit(2)


def _where(folder: str | None, name: str) -> str:
    return f"; set the variable, or put it into {Path(folder) / name.lower()}" if folder else ""


def _trouble_with(folder: str, prefix: str) -> list[str]:
    """What keeps secrets from being read, or lets everybody read them."""
    place = Path(folder)
    if not place.is_dir():
        return [f"setting {SECRETS_DIR}: there is no folder {folder}"]
    trouble = []
    needed = f"{prefix}DATABASE_PASSWORD"
    if not os.environ.get(needed) and not (place / needed.lower()).exists():
        trouble.append(f"setting {needed}: missing{_where(folder, needed)}")
    for path in sorted(place.glob(f"{prefix.lower()}*")):
        if path.stat().st_mode & stat.S_IROTH:
            trouble.append(f"setting {path.name.upper()}: everybody may read {path}; chmod o-r the file on the host")
        elif not os.access(path, os.R_OK):
            trouble.append(
                f"setting {path.name.upper()}: user {os.getuid()} may not read {path}; give its group {os.getgid()}"
            )
    return trouble
