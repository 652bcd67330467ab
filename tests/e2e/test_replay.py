"""A part of a day at high speed: the figures of reporting are those that the clients saw."""

from dataclasses import replace

import pytest

from porchlight.replay import demo_day
from porchlight.replay.call_log import read_day
from porchlight.replay.command import DEMO_FILE
from porchlight.replay.player import Replay, differences
from tests.support.platforms import RunningPlatform


@pytest.mark.long
async def test_at_600_times_speed_reporting_counts_what_the_clients_saw(platform: RunningPlatform) -> None:
    day = read_day(DEMO_FILE, demo_day.DAY)
    some = replace(day, calls=day.calls[400:600])

    async with platform.clients(client="replay") as clients:
        result = await Replay(clients, some, speed=600, progress=lambda _done, _total: None).run()

    assert differences(result) == [], result
    assert result["reporting"]["offered"] == 200 and result["reporting"]["service_level"] is not None
    assert result["clients"]["answered"] > 100
