"""What Kafka refuses for good is said, and over when it takes our records again."""

import pytest

from common.contracts.topics import CONFIG
from common.runtime.bus import Outgoing
from common.runtime.failures import Retryable
from common.runtime.kafka import KafkaPublisher, create_topics
from tests.support.machines import wrong_machine
from tests.support.servers import Servers


async def test_a_clock_that_is_hours_ahead_of_kafkas_is_said_until_it_is_right(servers: Servers) -> None:
    await create_topics(servers.bootstrap, prefix="hours.")
    record = Outgoing(topic="hours." + CONFIG.name, partition=0, key="skill/x", headers=(), value=b"{}")
    publisher = KafkaPublisher(servers.bootstrap, name="hours")
    with wrong_machine() as machine:
        await publisher.publish([record])
        assert publisher.trouble() == ""

        machine.ahead_s = 2 * 3600
        with pytest.raises(Retryable):
            await publisher.publish([record])
        assert "hours off the broker's" in publisher.trouble() and "NTP" in publisher.trouble()

        machine.ahead_s = 0
        await publisher.publish([record])
        assert publisher.trouble() == ""
    await publisher.close()
