"""Kafka users of the services and what each may do: SCRAM credentials and access control lists, made from the catalogue.

Requests and codes: Kafka's protocol guide, AlterUserScramCredentials (51) and CreateAcls (30); SCRAM: RFC 5802. aiokafka brings
the second one and not the first, which is therefore put together here from its types.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import CreateAclsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactBytes, CompactString, Int8, Int16, Int32, Schema, TaggedFields

from common.contracts.topics import CATALOGUE
from common.runtime.failures import Retryable
from common.runtime.kafka import Security

ITERATIONS = 4_096
"""Kafka's least number. The passwords are 256 random bits: more rounds would only make each connection slower."""
SCRAM_SHA_512 = 2
TIMEOUT_S = 20.0
TOPIC, LITERAL, ALLOW = 2, 3, 3
READ, WRITE = 3, 4


class _AlterScramResponse(Response):
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScramRequest_v0(RequestStruct):  # noqa: N801 -- as aiokafka names its own
    FLEXIBLE_VERSION = True
    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = _AlterScramResponse
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


_AlterScramStruct: TypeAlias = _AlterScramRequest_v0


class _AlterScramRequest(Request[_AlterScramStruct]):
    API_KEY = 51

    def __init__(self, upsertions: list[tuple[Any, ...]]) -> None:
        self._upsertions = upsertions

    def build(self, request_struct_class: type[_AlterScramStruct]) -> _AlterScramStruct:
        return request_struct_class([], self._upsertions, {})


async def put_users(bootstrap: str, passwords: Mapping[str, str], *, prefix: str, security: Security) -> None:
    """Give each user this password, and each service's user the rights of the catalogue on topics with this prefix.

    May be repeated: a user's older password is good no more. `security` is an administrator's. Raises `Retryable` when Kafka is
    away or refuses.
    """
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000, **security.options())
    credentials = [_credential(user, password) for user, password in sorted(passwords.items())]
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await client.bootstrap()
            changed = await _ask(client, _AlterScramRequest(credentials))
            failed = {user: message or code for user, code, message, _ in changed.results if code}
            for right in rights(prefix):
                allowed = await _ask(client, CreateAclsRequest(*right))
                failed |= {f"{right}": message or code for code, message in allowed.creation_responses if code}
    except (KafkaError, OSError, TimeoutError) as why:
        raise Retryable(f"kafka: {why!r}") from why
    finally:
        await client.close()
    if failed:
        raise Retryable(f"kafka refuses users or rights: {failed}")


async def _ask(client: AIOKafkaClient, request: Request[Any]) -> Any:
    """Any broker will do: it passes the request on to the controller."""
    return await client.send(client.get_random_node(), request)


def rights(prefix: str) -> Iterator[tuple[int, str, int, str, str, int, int]]:
    """Kafka's access control entries: a service writes and reads the topics that the catalogue gives it, and nothing else."""
    for topic in CATALOGUE:
        for operation, services in ((WRITE, topic.writers), (READ, topic.readers)):
            for service in services:
                yield TOPIC, prefix + topic.name, LITERAL, f"User:{service}", "*", operation, ALLOW


def _credential(user: str, password: str) -> tuple[Any, ...]:
    salt = secrets.token_bytes(24)
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    return user, SCRAM_SHA_512, ITERATIONS, salt, salted, {}
