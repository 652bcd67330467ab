"""Agents have the ids that identity providers give: they are defined, sign in, are named, and work under them."""

from collections.abc import AsyncIterator

import pytest

from common.runtime.clock import new_id
from porchlight.clients.http import Refused
from tests.support.centre import Centre
from tests.support.platforms import RunningPlatform

GIVEN = (
    "ann@example.org",
    "auth0|5f7c8ec7",
    "00uABCdef",
    "A1B2C3D4-0000-4000-8000-00000000ABCD",
    "a#EXT#%2F@x",
    "x" * 245,
)


@pytest.fixture
async def centre(platform: RunningPlatform) -> AsyncIterator[Centre]:
    async with platform.clients() as clients:
        yield Centre(clients, "i" + new_id()[-8:])


@pytest.fixture
async def names(centre: Centre) -> list[str]:
    await centre.open(requirements=[])
    names = [f"{name}.{centre.name}" for name in GIVEN]
    for name in names:
        await centre.administrator.put_agent(name, {"pool": centre.name, "languages": ["en"]})
    return names


async def test_a_contact_goes_from_one_to_the_next(centre: Centre, names: list[str]) -> None:
    first, *others = names
    holder = centre.clients.desktop(first)
    await holder.sign_in("available")
    contact_id = await centre.post(routing={"last_agent": first, "named_agent": first})
    offer = await centre.offer(holder, contact_id)
    await holder.accept(offer)
    for name in others:
        desktop = centre.clients.desktop(name)
        await desktop.sign_in("available")
        await centre.ready(desktop)
        await holder.transfer(offer, to_agent=name)
        offer = await centre.offer(desktop, contact_id)
        await desktop.accept(offer)
        holder = desktop
    await holder.complete(offer)
    await centre.state(contact_id, "completed")


async def test_administrators_find_them(centre: Centre, names: list[str]) -> None:
    for name in names:
        found = await centre.administrator.agent(name)
        assert found is not None and found["agent_id"] == name
        await centre.administrator.put_limits(name, {"shift_ends_ms": 1_795_640_400_000})
        await centre.administrator.sign_out(name)


@pytest.mark.parametrize("name", ["a b", ".", "..", ".a", "a/b", "a\\b", 'a"', "<a>", "a\n", "a\x00", "ä", "x" * 256])
async def test_other_ids_are_refused(centre: Centre, name: str) -> None:
    profile = {"pool": centre.name}
    with pytest.raises(Refused):
        await centre.administrator.put_agent(name, profile)
