"""`porchlight apply`: all or nothing, the dry run tells what happens, and the second run changes nothing."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from porchlight.clients.apply import apply, changes
from porchlight.clients.http import Administrator, Refused
from porchlight.installation import Trouble
from tests.support.platforms import RunningPlatform, command


@pytest.fixture
async def boss(platform: RunningPlatform) -> AsyncIterator[Administrator]:
    async with platform.clients() as clients:
        yield clients.administrator()


def told(found: list[Any]) -> list[tuple[str, Any, Any]]:
    return [field for change in found for field in change.fields]


async def test_what_the_file_leaves_out_is_reset_and_said(boss: Administrator) -> None:
    full = {"queues": {"ap-q": {"pool": "ap", "priority": 9, "wrap_up_ms": 5000, "policy": {"ttl_ms": 60000}}}}
    less: dict[str, Any] = {"queues": {"ap-q": {"pool": "ap", "policy": {}}}}
    await apply(boss, full)

    assert told(await changes(boss, less)) == [
        ("policy.ttl_ms", 60000, None),
        ("priority", 9, 0),
        ("wrap_up_ms", 5000, 0),
    ]
    await apply(boss, less)
    queue = (await boss.queues())["ap-q"]
    assert (queue["priority"], queue["wrap_up_ms"], queue["policy"]) == (0, 0, {})


async def test_an_agents_reset_is_said_too_and_limits_stay(boss: Administrator) -> None:
    ann = {"pool": "ap", "units": 12, "languages": ["en"], "skills": {"ap-s": 7}, "channel_max": {"chat": 2}}
    await apply(boss, {"skills": ["ap-s"], "agents": {"ap-ann": ann}})
    await boss.put_limits("ap-ann", {"shift_ends_ms": 1_795_640_400_000})

    assert told(await changes(boss, {"agents": {"ap-ann": {"pool": "ap"}}})) == [
        ("channel_max.chat", 2, None),
        ("languages", ["en"], None),
        ("skills.ap-s", 7, None),
        ("units", 12, 6),
    ]
    await apply(boss, {"agents": {"ap-ann": {"pool": "ap"}}})
    after = await boss.agent("ap-ann")
    assert after is not None and after["units"] == 6 and after["limits"]["shift_ends_ms"] == 1_795_640_400_000


async def test_the_second_run_changes_nothing(boss: Administrator) -> None:
    wanted: dict[str, Any] = {
        "skills": ["ap-two", "ap-one"],
        "queues": {
            "ap-d": {"pool": "ap", "policy": {"offers": {"parallel": 1}, "order": {"method": "priority"}}},
            "ap-e": {
                "pool": "ap",
                "requirements": [{"skill": "ap-two"}, {"skill": "ap-one", "min_level": 0}],
                "policy": {"overflow": [{"when": {"waited_over_ms": 5, "closed": False}, "queue": "ap-d"}]},
            },
        },
        "agents": {"ap-bob": {"pool": "ap", "languages": [], "auto_accept": False}},
    }
    assert len(await changes(boss, wanted)) == 5
    assert await apply(boss, wanted) == {"skills": 2, "queues": 2, "agents": 1}

    assert await changes(boss, wanted) == []
    versions = {name: queue["version"] for name, queue in (await boss.queues()).items()}
    await apply(boss, wanted)
    assert {name: queue["version"] for name, queue in (await boss.queues()).items()} == versions


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"queues": {"ap-2": {"pool": "ap", "wrapup_ms": 5}}}, r"queues.ap-2.wrapup_ms: Extra inputs"),
        ({"queues": {"ap-2": {"pool": "ap", "policy": {"length_max": 0}}}}, r"queues.ap-2.policy.length_max: a cap"),
        ({"queues": {"ap-2": {"pool": "ap", "requirements": [{"skill": "ap-never"}]}}}, r"there is no skill ap-never"),
        ({"agents": {"ap-cat": {"pool": "ap", "skills": {"ap-never": 1}}}}, r"agents.ap-cat.skills: there is no skill"),
        ({"agents": {"ap-cat": {"pool": "ap", "units": 61}}}, r"agents.ap-cat.units: "),
        (
            {"queues": {"ap-2": {"pool": "ap", "policy": {"choice": {"method": "scorer", "scorer": "gone"}}}}},
            r"has no scorer",
        ),
        ({"queues": {"ap-fixed": {"pool": "elsewhere"}}}, r"queues.ap-fixed.pool: is fixed"),
    ],
)
async def test_what_would_be_refused_is_refused_by_the_dry_run_and_nothing_is_changed(
    boss: Administrator, bad: dict[str, Any], says: str
) -> None:
    await apply(boss, {"queues": {"ap-fixed": {"pool": "ap"}}})
    first = {"queues": {"ap-first": {"pool": "ap", "priority": 7}, **bad.get("queues", {})}, "skills": ["ap-made"]}
    wanted = {**first, "agents": bad.get("agents", {})}

    for way in (changes, apply):
        with pytest.raises(Trouble, match=says):
            await way(boss, wanted)
    assert "ap-first" not in await boss.queues() and "ap-made" not in await boss.skills()


async def test_a_signed_in_agent_cannot_change_its_pool_and_the_dry_run_says_so(
    platform: RunningPlatform, boss: Administrator
) -> None:
    await apply(boss, {"agents": {"ap-dan": {"pool": "ap"}}})
    wanted = {"queues": {"ap-after": {"pool": "ap"}}, "agents": {"ap-dan": {"pool": "other"}}}
    async with platform.clients() as clients:
        desk = clients.desktop("ap-dan")
        await desk.sign_in()
        for way in (changes, apply):
            with pytest.raises(Trouble, match="signed in"):
                await way(boss, wanted)
        await desk.sign_out()

    assert "ap-after" not in await boss.queues()
    await apply(boss, wanted)
    assert (await boss.agent("ap-dan") or {})["pool"] == "other"


async def test_queues_that_swap_their_ways_are_changed_in_any_order(boss: Administrator) -> None:
    def one_way(first: str, second: str) -> dict[str, Any]:
        rule = {"when": {"closed": True}, "queue": second}
        return {"queues": {first: {"pool": "ap", "policy": {"overflow": [rule]}}, second: {"pool": "ap", "policy": {}}}}

    await apply(boss, one_way("ap-x", "ap-y"))
    await apply(boss, one_way("ap-y", "ap-x"))

    assert await changes(boss, one_way("ap-y", "ap-x")) == []


class Meddled(Administrator):
    """Somebody else makes the last step impossible after everything was checked."""

    def __init__(self, real: Administrator) -> None:
        self.__dict__.update(real.__dict__)

    async def put_agent(self, agent: str, profile: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        if not dry_run:
            raise Refused(409, {"type": "urn:porchlight:problem:agent-signed-in", "detail": "signed in meanwhile"})
        return await super().put_agent(agent, profile, dry_run=dry_run)


async def test_what_was_changed_before_a_refusal_that_nobody_could_foresee_is_put_back(boss: Administrator) -> None:
    await apply(boss, {"queues": {"ap-back": {"pool": "ap", "priority": 3}}})
    wanted = {"queues": {"ap-back": {"pool": "ap", "priority": 8}}, "agents": {"ap-eve": {"pool": "ap"}}}

    with pytest.raises(Trouble, match=r"signed in meanwhile.*; nothing was changed"):
        await apply(Meddled(boss), wanted)

    assert (await boss.queues())["ap-back"]["priority"] == 3


def test_the_command_says_what_would_change_and_that_nothing_did(platform: RunningPlatform, tmp_path: Any) -> None:
    file = tmp_path / "UP.YAML"
    file.write_text("queues:\n  ap-cmd: {pool: ap, priority: 4}\n")
    environment = {}

    dry = command("apply", "--dry-run", str(file), home=platform.home.folder, environment=environment)
    done = command("apply", str(file), home=platform.home.folder, environment=environment)
    again = command("apply", "--dry-run", str(file), home=platform.home.folder, environment=environment)

    assert "+ queue ap-cmd" in dry.stdout and "1 would change; nothing was changed" in dry.stdout
    assert "1 queues" in done.stdout and "1 changed" in done.stdout
    assert "0 would change" in again.stdout
