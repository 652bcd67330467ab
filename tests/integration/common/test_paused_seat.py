"""A follower that stands still, with its connection open, loses its right to another one."""

from collections.abc import Sequence

import pytest

from common.runtime import following
from common.runtime.bus import Incoming
from common.runtime.database import AWAY, Connection
from common.runtime.following import PostgresSeat
from common.testing.eventually import eventually
from tests.integration.conftest import Place


async def nothing(_tables: Connection, _records: Sequence[Incoming]) -> None:
    """No effect."""


async def test_a_seat_that_is_silent_is_free_for_another_and_its_holder_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "IDLE_SESSION_TIMEOUT_S", 1.5)
    opened = PostgresSeat.opener(name="paused", dsn=place.dsns["intake"], tables=lambda one: one, apply=nothing)
    paused = await opened()
    assert await paused.take()
    monkeypatch.setattr(following, "IDLE_SESSION_TIMEOUT_S", 60)
    other = await opened()
    assert not await other.take()

    await eventually(other.take, within_s=20, what="the right of the silent one is free")

    with pytest.raises(AWAY):
        await paused.note()
    await other.close()
