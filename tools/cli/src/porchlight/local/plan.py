"""What is to run and where: ports, numbers of instances, the environment of each service."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from porchlight.installation import SERVICES, Home
from porchlight.local.processes import check_port, free_port

POSTGRES_PORT, KAFKA_PORT, CONTROLLER_PORT = 20, 21, 22
"""Offsets from the port base; services take the numbers below."""
FIRST_PORT = {"intake": 1, "router": 2, "agent-presence": 3, "reporting": 4}
"""Offset of a service's first instance; its next ones follow in steps of ten below the servers' ports, then above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user chose. `port_base` 0: free ports. `fast`: PostgreSQL without durability, for tests of logic."""

    port_base: int = 8080
    intake: int = 1
    router: int = 2
    presence: int = 1
    reporting: int = 1
    log_level: str = "info"
    fast: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One service process to be."""

    service: str
    number: int
    port: int

    @property
    def name(self) -> str:
        """For example `router-2`: its log is `router-2.log`."""
        return f"{self.service}-{self.number}"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Ports of the servers, and every service process."""

    postgres: int
    kafka: int
    controller: int
    instances: tuple[Instance, ...]

    def urls(self, service: str) -> list[str]:
        """Where the instances of a service answer."""
        return [one.url for one in self.instances if one.service == service]


def make_plan(options: Options) -> Plan:
    """Choose and check the ports. `Trouble` when one is taken."""
    counts = {
        "intake": options.intake,
        "router": options.router,
        "agent-presence": options.presence,
        "reporting": options.reporting,
    }
    base = options.port_base

    def port(offset: int, name: str) -> int:
        if base == 0:
            return free_port()
        check_port(base + offset, name=name)
        return base + offset

    return Plan(
        postgres=port(POSTGRES_PORT, "PostgreSQL"),
        kafka=port(KAFKA_PORT, "Kafka"),
        controller=port(CONTROLLER_PORT, "Kafka's controller"),
        instances=tuple(
            Instance(
                service=service,
                number=number,
                port=port(FIRST_PORT[service] + (0 if number == 1 else 20 + 10 * (number - 1)), f"{service} {number}"),
            )
            for service in SERVICES
            for number in range(1, counts[service] + 1)
        ),
    )


def service_command(service: str) -> list[str]:
    """How to start a service."""
    return [sys.executable, "-m", service.replace("-", "_")]


def service_environment(
    instance: Instance, *, home: Home, dsn: str, bootstrap: str, plan: Plan, log_level: str, more: Mapping[str, str]
) -> dict[str, str]:
    """The settings of a service process: what the user gave in the environment, and what only we know. `more`: by setting."""
    prefix = instance.service.upper().replace("-", "_") + "_"
    settings = {
        "DATABASE_URL": dsn,
        "KAFKA_BOOTSTRAP": bootstrap,
        "PORT": str(instance.port),
        "INSTANCE": str(instance.number),
        "JWKS_FILE": str(home.folder / "jwks.json"),
        "LOG_LEVEL": log_level,
        **{name.upper(): value for name, value in more.items()},
    }
    if instance.service == "intake":
        settings["KEY_PEPPER"] = home.secret("key-pepper")
    if instance.service == "reporting":
        pages = [f"{service} API={plan.urls(service)[0]}/docs" for service in SERVICES]
        settings["STATUS_LINKS"] = ",".join(pages)
    given = {name: value for name, value in os.environ.items() if name.startswith(prefix)}
    return {**given, **{prefix + name: value for name, value in settings.items()}}
