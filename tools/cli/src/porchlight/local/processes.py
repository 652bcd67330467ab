"""Child processes: started so that they die with us, known by pid and start time, stopped within a bound."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from porchlight.installation import Home, Trouble, write_atomically

LOG_BYTES_MAX = 20_000_000
"""A log that is larger when its process starts is put aside as `.1`, over the one put aside before."""
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "JAVA_HOME", "PYTHONPATH")
"""What a child gets of the shell that started us: a proxy, options for Java or libpq are not meant for it."""
PR_SET_PDEATHSIG = 1


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A process as it was started. The pid alone could belong to somebody else by now; with the start time it cannot."""

    name: str
    pid: int
    started_ticks: int
    stop_signal: int


def start(
    command: Sequence[str],
    *,
    name: str,
    home: Home,
    environment: dict[str, str],
    user: int | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, its output in its log; the kernel ends it when we die.

    `folder`: where it works; without it, where we do.
    """
    log = home.logs / f"{name}.log"
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**clean_environment(), **environment},
            cwd=folder,
            start_new_session=True,
            preexec_fn=_die_with_parent(),
            user=user,
            group=user,
            extra_groups=[] if user is not None else None,
        )


def clean_environment() -> dict[str, str]:
    """What any child gets, however it is started."""
    return {name: os.environ[name] for name in KEPT if name in os.environ}


def forget_libpq() -> None:
    """Take libpq's variables (PGSSLMODE, PGHOST, PGOPTIONS, …) out of our environment: asyncpg would mix them into addresses
    that are complete. They are meant for the user's own `psql`.
    """
    for name in [name for name in os.environ if name.startswith("PG") and name.isupper()]:
        del os.environ[name]


def _die_with_parent() -> Callable[[], None]:
    libc = ctypes.CDLL(None)

    def call() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return call


def started_ticks(pid: int) -> int | None:
    """When the process started, in the kernel's ticks; None when it is gone (a zombie counts as gone)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class Pids:
    """The file that says which processes belong to this folder."""

    def __init__(self, home: Home) -> None:
        self._path = home.run / "pids.json"
        self._known: dict[str, Known] = {}

    def note(self, name: str, pid: int, stop_signal: int) -> None:
        """Write down a started process."""
        ticks = started_ticks(pid)
        if ticks is not None:
            self._known[name] = Known(name=name, pid=pid, started_ticks=ticks, stop_signal=stop_signal)
            write_atomically(self._path, msgspec.json.encode(list(self._known.values())).decode())

    def alive(self) -> list[Known]:
        """Noted processes that still run, of this or an earlier supervisor."""
        try:
            noted = msgspec.json.decode(self._path.read_bytes(), type=list[Known])
        except (OSError, msgspec.MsgspecError):
            return []
        return [known for known in noted if started_ticks(known.pid) == known.started_ticks]

    def stop_orphans(self, say: Callable[[str], None]) -> None:
        """End what a killed supervisor left behind; nobody may use the same data beside us."""
        for known in self.alive():
            say(f"{known.name} (pid {known.pid}) was left by a supervisor that is gone: stopping it")
            stop_pid(known.pid, known.started_ticks, known.stop_signal, timeout_s=15)


def stop_pid(pid: int, ticks: int, stop_signal: int, *, timeout_s: float) -> None:
    """Ask a process that is not our child to end, then make it."""
    os.kill(pid, stop_signal)
    deadline = time.monotonic() + timeout_s
    while started_ticks(pid) == ticks:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def free_port() -> int:
    """A port of the loopback interface that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port(port: int, *, name: str) -> None:
    """`Trouble` when somebody listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as why:
            raise Trouble(
                f"port {port} for {name} is taken by another program: stop that, or choose others with --port-base"
            ) from why
