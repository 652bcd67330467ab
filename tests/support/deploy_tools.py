"""promtool, Docker Compose, nginx and libfaketime, where a machine has them: the last word on our files. No Docker engine is needed.

Looked for on PATH and in `build/tools`, where `make deploy-tools` puts them. The choice is printed once; with
`PORCHLIGHT_TEST_TOOLS=required`, as CI sets it, one that is missing is an error and never left out.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
OWN = ROOT / "build" / "tools"
NAMES = ("promtool", "docker-compose", "nginx")
FAKETIME = "libfaketime.so.1"
FAKETIME_PLACES = (OWN, *Path("/usr/lib").glob("*/faketime"))


def find(name: str) -> str | None:
    """The program's path; Compose may also be Docker's plugin."""
    found = shutil.which(name, path=f"{OWN}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None and name == "docker-compose":
        folders = [Path.home() / ".docker/cli-plugins", *map(Path, PLUGINS)]
        found = next((str(folder / name) for folder in folders if os.access(folder / name, os.X_OK)), None)
    return found


PLUGINS = ("/usr/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins", "/usr/local/lib/docker/cli-plugins")


def checks() -> list[tuple[str, tuple[str, ...]]]:
    """Every check by a tool that is there, or that must be: the tool's name and its words, run in `deploy/`."""
    rules = "observability/rules.yml"
    compose = ("-f", "compose.yaml")
    wanted = [
        ("promtool", ("check", "config", "--syntax-only", "observability/prometheus.yml")),
        ("promtool", ("check", "rules", rules)),
        ("promtool", ("test", "rules", "observability/rules_test.yml")),
        ("docker-compose", (*compose, "--profile", "*", "config", "-q")),
        ("docker-compose", (*compose, "-f", "compose.cluster.yaml", "--profile", "*", "config", "-q")),
        ("docker-compose", (*compose, "-f", "compose.external-kafka.yaml", "config", "-q")),
        ("docker-compose", (*compose, "-f", "compose.open-kafka.yaml", "config", "-q")),
    ]
    return [(name, words) for name, words in wanted if is_wanted(name)]


def is_wanted(name: str) -> bool:
    """Whether tests ask for the program: it is there, or must be."""
    return os.environ.get("PORCHLIGHT_TEST_TOOLS") == "required" or find(name) is not None


def faketime() -> Path | None:
    """The library that gives a process another clock; None where there is none and none must be."""
    found = next((place / FAKETIME for place in FAKETIME_PLACES if (place / FAKETIME).exists()), None)
    assert found or os.environ.get("PORCHLIGHT_TEST_TOOLS") != "required", (
        f"{FAKETIME} is not here: `make deploy-tools`"
    )
    return found


def run(name: str, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run it in `deploy/`."""
    program = find(name)
    assert program, f"{name} is not here: `make deploy-tools`, or install it"
    settings = {"KAFKA_CA": "ca.pem", "KAFKA_USERNAME": "somebody"}  # which a Kafka elsewhere asks for
    return subprocess.run(
        [program, *words],
        cwd=ROOT / "deploy",
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
