"""The one folder under which everything lives, and what is written down there about a running platform."""

import fcntl
import os
import secrets
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
from cyclopts import Parameter

from common.runtime.kafka import Mechanism, Security

DEFAULT_HOME = ".porchlight"
HomeFolder = Annotated[str, Parameter(name="--home", env_var="PORCHLIGHT_HOME", help="Where everything lives.")]
SERVICES = ("intake", "router", "agent-presence", "reporting")


class Trouble(Exception):
    """Something that the user can put right; the message says how."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What a running platform tells its tools. Holds secrets: the file is for its owner only.

    `supervisor_pid` 0: somebody else runs it, containers for example.
    """

    supervisor_pid: int
    intake: list[str]
    router: list[str]
    presence: list[str]
    reporting: list[str]
    kafka_bootstrap: str
    topic_prefix: str
    dsns: dict[str, str]
    owner_dsns: dict[str, str]
    versions: dict[str, str]
    kafka_ca_file: str = ""
    kafka_username: str = ""
    kafka_password: str = ""
    kafka_mechanism: Mechanism = "PLAIN"

    @property
    def is_own_kafka(self) -> bool:
        """Whether Kafka is ours, with users that we make; somebody else's has a certificate, or asks nobody who they are."""
        return not self.kafka_ca_file and bool(self.kafka_username)

    @property
    def kafka_security(self) -> Security:
        """How to reach a Kafka that is not open."""
        return Security(
            ca_file=self.kafka_ca_file,
            username=self.kafka_username,
            password=self.kafka_password,
            mechanism=self.kafka_mechanism,
        )

    @property
    def kafka(self) -> dict[str, Any]:
        """What aiokafka's clients are given to reach Kafka."""
        return {"bootstrap_servers": self.kafka_bootstrap, **self.kafka_security.options()}


class Home:
    """Paths below the folder, and the secrets of this installation."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.folder / "logs"

    @property
    def run(self) -> Path:
        """Lock, pids and the description of the running platform."""
        return self.folder / "run"

    def make(self) -> None:
        """Make the folders; a folder that cannot be written is `Trouble`."""
        try:
            for folder in (self.folder, self.logs, self.run, self.folder / "secrets"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as why:
            raise Trouble(f"cannot write to {self.folder}: {why.strerror}; choose another with --home") from why

    def secret(self, name: str) -> str:
        """A secret of this installation, made at the first use and readable by its owner only."""
        path = self.folder / "secrets" / name
        if not path.exists():
            write_atomically(path, secrets.token_urlsafe(32))
        return path.read_text()

    def lock(self) -> IO[str]:
        """Be the only supervisor of this folder, until the file is closed. `Trouble` when there is another."""
        file = (self.run / "lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as why:
            file.seek(0)
            raise Trouble(
                f"a platform with pid {file.read().strip() or '?'} runs in {self.folder}:"
                " `porchlight status` shows it, `porchlight down` stops it"
            ) from why
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        return file

    def is_locked(self) -> int | None:
        """The pid of the supervisor that holds the lock, if one does."""
        path = self.run / "lock"
        if not path.exists():
            return None
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                return int(file.read().strip() or 0)
        return None

    def describe(self, running: Running) -> None:
        """Write down what runs."""
        write_atomically(self.run / "platform.json", msgspec.json.format(msgspec.json.encode(running)).decode())

    def running(self) -> Running:
        """What runs. `Trouble` when nothing does."""
        path = self.run / "platform.json"
        found = msgspec.json.decode(path.read_bytes(), type=Running) if path.exists() else None
        if found is None or (found.supervisor_pid != 0 and self.is_locked() is None):
            raise Trouble(f"no platform runs in {self.folder}: start one with `porchlight up` or `make run`")
        return found


def write_atomically(path: Path, text: str) -> None:
    """Write a file for its owner only, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
