"""Who may do what at the platform's own Kafka: nobody without a password, and each service what the catalogue gives it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from common.contracts.topics import CATALOGUE, CONFIG, CONTACTS, ROUTING, Topic
from common.runtime.bus import Outgoing, Place
from common.runtime.failures import Retryable
from common.runtime.kafka import OPEN, KafkaBus, KafkaPublisher, Security
from common.runtime.kafka_login import KafkaLogin
from common.testing.eventually import eventually
from porchlight.installation import SERVICES
from porchlight.jobs.kafka_users import MECHANISM, kafka_password, make_users_and_topics
from porchlight.local.plan import service_command
from porchlight.local.processes import free_port
from tests.support.platforms import RunningPlatform, started

PREFIX = "rights."
"""Of topics that no service reads."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with started(tmp_path_factory.mktemp("home"), router=1) as found:
        asyncio.run(make_users_and_topics(found.home, bootstrap=found.running.kafka_bootstrap, prefix=PREFIX))
        yield found


def user_of(platform: RunningPlatform, service: str) -> Security:
    return Security(username=service, password=kafka_password(platform.home, service), mechanism=MECHANISM)


def record(topic: Topic) -> Outgoing:
    return Outgoing(topic=PREFIX + topic.name, partition=0, key="k", headers=(), value=b"{}")


async def is_written(platform: RunningPlatform, topic: Topic, security: Security) -> bool:
    publisher = KafkaPublisher(platform.running.kafka_bootstrap, name="test", security=security)
    try:
        await publisher.publish([record(topic)])
        return True
    except Retryable:
        return False
    finally:
        await publisher.close()


async def is_read(platform: RunningPlatform, topic: Topic, security: Security) -> bool:
    bus = KafkaBus(platform.running.kafka_bootstrap, name="test", security=security)
    try:
        reader = await bus.reader({Place(topic=PREFIX + topic.name, partition=0): 0}, at_once=True)
    except (Retryable, TopicAuthorizationFailedError):
        return False
    try:
        return bool(await reader.read(wait_ms=3_000, records_max=1))
    except (Retryable, TopicAuthorizationFailedError):
        return False
    finally:
        await reader.close()


@pytest.mark.parametrize("topic", [CONTACTS, ROUTING], ids=lambda topic: topic.name)
async def test_a_topic_is_written_and_read_by_whom_the_catalogue_names_and_by_nobody_else(
    platform: RunningPlatform, topic: Topic
) -> None:
    users = {service: user_of(platform, service) for service in SERVICES}
    writes = {service for service in SERVICES if await is_written(platform, topic, users[service])}
    reads = {service for service in SERVICES if await is_read(platform, topic, users[service])}

    assert writes == set(topic.writers)
    assert reads == set(topic.readers)


@pytest.mark.parametrize(
    "security",
    [
        OPEN,
        Security(username="router", password="guessed", mechanism=MECHANISM),
        Security(username="nobody", password="guessed", mechanism=MECHANISM),
        Security(username="admin", password="guessed", trusted_line=True),
    ],
    ids=["no user", "wrong password", "unknown user", "administrator's name"],
)
async def test_who_cannot_show_who_they_are_gets_nowhere(platform: RunningPlatform, security: Security) -> None:
    assert not await is_written(platform, ROUTING, security)
    with pytest.raises(Retryable):
        await KafkaBus(platform.running.kafka_bootstrap, name="test", security=security).reader(
            {Place(topic=PREFIX + CONFIG.name, partition=0): 0}, at_once=True
        )


@pytest.mark.parametrize(
    ("security", "says"),
    [
        (OPEN, "KAFKA_USERNAME"),
        (Security(username="router", password="guessed", mechanism=MECHANISM), "refuses the user or its password"),
        (Security(username="nobody", password="guessed", mechanism=MECHANISM), "refuses the user or its password"),
        (Security(username="router", password="guessed", mechanism="SCRAM-SHA-256"), "KAFKA_MECHANISM"),
    ],
    ids=["no user", "wrong password", "unknown user", "other mechanism"],
)
async def test_a_service_that_kafka_refuses_is_not_ready_and_says_which_setting(
    platform: RunningPlatform, security: Security, says: str
) -> None:
    login = KafkaLogin(platform.running.kafka_bootstrap, prefix="ROUTER_", security=security)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(login.wait(), 3)

    assert says in login.trouble() and "ROUTER_" in login.trouble()


async def test_a_service_that_kafka_knows_is_ready_and_so_is_one_whose_kafka_is_away(platform: RunningPlatform) -> None:
    known = KafkaLogin(platform.running.kafka_bootstrap, prefix="ROUTER_", security=user_of(platform, "router"))
    away = KafkaLogin("127.0.0.1:9", prefix="ROUTER_", security=user_of(platform, "router"))
    assert known.trouble() and away.trouble(), "nobody was asked yet"

    await asyncio.wait_for(known.wait(), 10)
    await asyncio.wait_for(away.wait(), 10)

    assert (known.trouble(), away.trouble()) == ("", "")


def environment_of(service: str, platform: RunningPlatform) -> dict[str, str]:
    """What the running process of a service was started with."""
    module = service.replace("-", "_").encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().split(b"\0") if path.exists() else []
        if words[1:3] == [b"-m", module]:
            pairs = path.with_name("environ").read_bytes().decode().split("\0")
            found = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
            if found[prefix_of(service) + "JWKS_FILE"].startswith(str(platform.home.folder)):
                return found
    raise AssertionError(f"{service} does not run")


def prefix_of(service: str) -> str:
    return service.upper().replace("-", "_") + "_"


@pytest.mark.parametrize("service", SERVICES)
async def test_no_service_says_it_is_ready_while_kafka_refuses_its_password(
    platform: RunningPlatform, service: str
) -> None:
    port, prefix = free_port(), prefix_of(service)
    changed = {"KAFKA_PASSWORD": "guessed", "PORT": str(port), "INSTANCE": "refused"}
    environment = environment_of(service, platform) | {prefix + name: value for name, value in changed.items()}
    process = await asyncio.create_subprocess_exec(
        *service_command(service), env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

            async def is_refused() -> bool:
                try:
                    answer = await client.get("/readyz")
                except httpx.TransportError:
                    return False
                return answer.status_code == 503 and "user or its password" in answer.json()["wrong"].get("kafka", "")

            await eventually(is_refused, within_s=20)
    finally:
        process.terminate()
        assert await process.wait() == 0


async def test_a_password_that_was_changed_is_good_at_once_and_the_old_one_no_more(platform: RunningPlatform) -> None:
    old = user_of(platform, "intake")
    (platform.home.folder / "secrets" / "intake-kafka-password").write_text("another-one")
    try:
        await make_users_and_topics(platform.home, bootstrap=platform.running.kafka_bootstrap, prefix=PREFIX)
        assert await is_written(platform, CONTACTS, user_of(platform, "intake"))
        assert not await is_written(platform, CONTACTS, old)
    finally:
        (platform.home.folder / "secrets" / "intake-kafka-password").write_text(old.password)
        await make_users_and_topics(platform.home, bootstrap=platform.running.kafka_bootstrap, prefix=PREFIX)
        assert await is_written(platform, CONTACTS, old)


def test_no_password_is_on_a_command_line(platform: RunningPlatform) -> None:
    lines = [path.read_bytes().replace(b"\0", b" ") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    secrets = [kafka_password(platform.home, user).encode() for user in ("admin", *SERVICES)]

    assert any(b"kafka.Kafka" in line for line in lines), "the broker was looked at"
    assert not [line for line in lines for secret in secrets if secret in line]


def test_every_topic_has_a_writer_and_a_reader() -> None:
    for topic in CATALOGUE:
        assert topic.writers and topic.readers and {*topic.writers, *topic.readers} <= set(SERVICES), topic.name
