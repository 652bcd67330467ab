"""Whether Kafka lets a service in, asked before the service says that it is ready.

aiokafka's clients answer a refused login and a broker that is away with the same error, and try both for ever. A broker that is
away comes back by itself and keeps nobody from taking work; a login that is refused needs a person, who is told which setting.
"""

import asyncio
import ssl

import structlog
from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from common.runtime.back_off import BackOff
from common.runtime.kafka import Security

log = structlog.get_logger()

ASK_TIMEOUT_S = 5.0
FIRST_PAUSE_S = 0.2
REFUSED = (SaslAuthenticationFailed, IllegalSaslStateError, UnsupportedSaslMechanismError)
NOT_ASKED = "not asked yet whether it lets us in"


class KafkaLogin:
    """Asks until Kafka let us in once. `prefix`: of the service's settings.

    After that one success a refusal is not asked about any more: a Kafka that was lost and is being filled again knows nobody for
    a while, and a service that takes contacts meanwhile loses none.
    """

    def __init__(self, bootstrap: str, *, prefix: str, security: Security) -> None:
        self._brokers = [_address(one) for one in bootstrap.split(",")]
        self._prefix = prefix
        self._security = security
        self._trouble = NOT_ASKED
        self._let_in = False

    def trouble(self) -> str:
        """Why Kafka does not let us in; empty when it does, or is only away."""
        return self._trouble

    async def wait(self) -> None:
        """Return when Kafka let us in or is away; until then say why it refuses."""
        pauses = BackOff(FIRST_PAUSE_S)
        while True:
            await self._ask()
            if not self._trouble:
                return
            await pauses.pause()

    async def run(self) -> None:
        """Ask a Kafka that was away until it let us in once; then rest until cancelled."""
        pauses = BackOff(FIRST_PAUSE_S)
        while not self._let_in:
            await pauses.pause()
            await self._ask()
        await asyncio.Event().wait()

    async def _ask(self) -> None:
        answers = [await self._ask_broker(host, port) for host, port in self._brokers]
        self._let_in = "" in answers
        why = "" if self._let_in else next((answer for answer in answers if answer), "")
        if why and why != self._trouble:
            log.error("kafka_login_refused", why=why)
        self._trouble = why

    async def _ask_broker(self, host: str, port: int) -> str | None:
        """Why this broker refuses us; empty when it does not, None when it does not answer at all."""
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                connection = await create_conn(host, port, request_timeout_ms=5_000, **self._security.options())
        except REFUSED as why:
            return (
                f"the broker {host}:{port} refuses the user or its password ({type(why).__name__}): see"
                f" {self._prefix}KAFKA_USERNAME, {self._prefix}KAFKA_PASSWORD and {self._prefix}KAFKA_MECHANISM"
            )
        except ssl.SSLError as why:
            return f"the broker {host}:{port} has no certificate of {self._prefix}KAFKA_CA_FILE ({why.reason})"
        except (TimeoutError, KafkaError, OSError):
            return None
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await connection.send(MetadataRequest([]))
        except (TimeoutError, KafkaError, OSError):
            return (
                f"the broker {host}:{port} ends our connection: it may want a user ({self._prefix}KAFKA_USERNAME) or an"
                f" encrypted line ({self._prefix}KAFKA_CA_FILE)"
            )
        finally:
            connection.close()
        return ""


def _address(broker: str) -> tuple[str, int]:
    host, _, port = broker.strip().rpartition(":")
    return host.strip("[]"), int(port)
