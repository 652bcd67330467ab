"""The users of a Kafka of our own: one for each service, with the rights of the catalogue, and an administrator for tools."""

from common.runtime.kafka import Mechanism, Security, create_topics
from common.runtime.kafka_access import put_users
from porchlight.installation import SERVICES, Home

ADMIN = "admin"
MECHANISM: Mechanism = "SCRAM-SHA-512"
"""By which everybody but the brokers themselves and the job that makes the users shows who they are."""


def kafka_password(home: Home, user: str) -> str:
    """The password of a service, or of the administrator, at Kafka."""
    return home.secret(f"{user}-kafka-password")


async def make_users(home: Home, *, bootstrap: str, prefix: str) -> Security:
    """Users and rights as the catalogue has them; returns how the administrator came who made them. Raises `Retryable`.

    They come by PLAIN, which the brokers know from their own settings: in a new Kafka there is nobody else.
    """
    passwords = {user: kafka_password(home, user) for user in (ADMIN, *SERVICES)}
    security = Security(username=ADMIN, password=passwords[ADMIN], mechanism="PLAIN", trusted_line=True)
    await put_users(bootstrap, passwords, prefix=prefix, security=security)
    return security


async def make_users_and_topics(home: Home, *, bootstrap: str, prefix: str, replication: int = 1) -> list[str]:
    """Users, rights and topics as the catalogue has them; returns the topics that were missing.

    Raises `Retryable` when Kafka is away, `ValueError` when a topic has another number of partitions.
    """
    security = await make_users(home, bootstrap=bootstrap, prefix=prefix)
    return await create_topics(bootstrap, prefix=prefix, replication=replication, security=security)


def plain_login(admin_password: str) -> str:
    """How brokers know the administrator, and themselves, by PLAIN: a line of JAAS. The password needs no quoting."""
    known = f'username="{ADMIN}" password="{admin_password}" user_{ADMIN}="{admin_password}"'
    return f"org.apache.kafka.common.security.plain.PlainLoginModule required {known};"


def broker_logins(admin_password: str) -> str:
    """The same for brokers in containers, as the file that Java's `java.security.auth.login.config` names."""
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    return f"KafkaServer {{\n  {plain_login(admin_password)}\n  {scram}\n}};\n"
