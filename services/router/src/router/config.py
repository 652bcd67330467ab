"""Settings of the router; nothing else reads the environment."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from common.runtime.settings import ServiceSettings

SCHEMA = "0005"
"""The newest migration that this code was written for."""


class Settings(ServiceSettings):
    """`scorers`: functions of this installation that choose agents, `name=module:function`. `takeover_ms`: how long a renew
    counter may stand still before a standby breaks the lease.
    """

    model_config = SettingsConfigDict(env_prefix="ROUTER_", frozen=True, extra="ignore")

    takeover_ms: int = Field(1_500, ge=500, le=60_000)
    renew_every_ms: int = Field(300, ge=50, le=10_000)
    advertise_url: str = Field("", description="Where the other routers reach this one; else host and port.")
    scorers: str = Field("", description="name=module:function, separated by commas")
    scan_every_ms: int = Field(150, ge=20, le=5_000)
