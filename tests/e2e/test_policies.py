"""Policies through the running platform, with two of every service: saved, refused, followed, explained."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from common.runtime.clock import monotonic_s, new_id
from common.testing.eventually import eventually
from porchlight.clients.http import Refused
from tests.support.centre import Centre
from tests.support.platforms import RunningPlatform, command


@pytest.fixture
async def centre(platform: RunningPlatform) -> AsyncIterator[Centre]:
    async with platform.clients() as clients:
        yield Centre(clients, "y" + new_id()[-8:])


async def test_two_are_asked_at_a_time_and_the_first_wins(centre: Centre) -> None:
    await centre.open(policy={"offers": {"parallel": 2}})
    ann, bob = await centre.agent("ann"), await centre.agent("bob")
    contact_id = await centre.post()
    late, first = await centre.offer(ann, contact_id), await centre.offer(bob, contact_id)

    await bob.accept(first)

    with pytest.raises(Refused) as refused:
        await ann.accept(late)
    assert refused.value.kind == "offer-over"
    assert (await centre.state(contact_id, "assigned"))["attempt"] == 2


async def test_a_paused_contact_frees_its_agent_and_is_resumed(centre: Centre) -> None:
    await centre.open()
    ann = await centre.agent("ann")
    first = await centre.post()
    offer = await centre.offer(ann, first)
    await ann.accept(offer)
    await ann.pause(offer)
    await centre.state(first, "paused")

    second = await centre.post()
    other = await centre.offer(ann, second)
    await ann.accept(other)
    await ann.complete(other)
    await ann.resume(offer)
    await centre.state(first, "assigned")
    await ann.complete(offer)
    await centre.state(first, "completed")


async def test_a_transfer_keeps_the_contact_and_its_age(centre: Centre) -> None:
    await centre.open()
    ann = await centre.agent("ann")
    contact_id = await centre.post()
    offer = await centre.offer(ann, contact_id)
    await ann.accept(offer)
    bob = await centre.agent("bob")

    await ann.transfer(offer, to_agent=bob.name)

    passed_on = await centre.offer(bob, contact_id)
    assert passed_on["waiting_since"] == offer["waiting_since"]
    with pytest.raises(Refused) as refused:
        await ann.complete(offer)
    assert refused.value.kind in ("not-found", "offer-over")


async def test_a_policy_change_reaches_who_waits_in_under_a_second(centre: Centre) -> None:
    rare = f"rare-{centre.name}"
    await centre.administrator.put_skill(rare)
    await centre.open(policy={"need": {"skill": rare}})
    ann = await centre.agent("ann")
    waiting = [await centre.post() for _ in range(3)]
    for contact_id in waiting:
        await centre.state(contact_id, "queued")

    started = monotonic_s()
    await centre.open(policy={})
    offer = await centre.offer(ann, waiting[0])

    assert offer["contact_id"] == waiting[0]
    assert monotonic_s() - started < 3  # the change itself, three admin calls and a long poll on a busy machine
    assert [(await centre.integration.get(one))["state"] for one in waiting[1:]] == ["queued", "queued"]


async def test_a_break_near_keeps_offers_away_until_it_is_moved(centre: Centre) -> None:
    await centre.open(policy={"home": {"expected_handle_ms": 600_000}})
    soon = int((datetime.now(UTC) + timedelta(minutes=5)).timestamp() * 1_000)
    await centre.administrator.put_limits(f"ann-{centre.name}", {"break_due_ms": soon})
    ann = await centre.agent("ann")
    contact_id = await centre.post()
    await centre.state(contact_id, "queued")
    trace = await centre.administrator.trace(contact_id)
    assert trace["now"]["agents"] == [[ann.name, "break_due"]]
    await centre.reason(ann, "break_due")

    async def supervisors_see_it() -> bool:
        shown = await centre.administrator.agent(ann.name) or {}
        return (shown["routing_state"], shown["routing_reason"], shown["link_score"]) == ("ready", "break_due", 100)

    await eventually(supervisors_see_it, within_s=15, what="a supervisor reads why, too")

    await centre.administrator.put_limits(ann.name, {"break_due_ms": soon + 3_600_000})
    await centre.offer(ann, contact_id)


async def test_a_bad_line_is_spared_calls_until_it_is_better(centre: Centre) -> None:
    await centre.open(policy={"home": {"link_score_min": 60}})
    ann = await centre.agent("ann", presence="away")
    await ann.set_link(30)
    await centre.set_presence(ann, "available")
    contact_id = await centre.post()
    await centre.state(contact_id, "queued")
    assert (await centre.administrator.trace(contact_id))["now"]["reasons"] == {"link_score": 1}
    await centre.reason(ann, "link_score")

    await ann.set_link(90)
    await centre.offer(ann, contact_id)


async def test_a_customer_who_comes_again_gets_the_agent_it_knows(centre: Centre) -> None:
    await centre.open(policy={"sticky": [{"to": "last_agent", "wait_ms": 60_000}]})
    ann = await centre.agent("ann")
    about = {"routing": {"customer_ref": "customer-1"}}
    first = await centre.post(**about)
    offer = await centre.offer(ann, first)
    await ann.accept(offer)
    await ann.complete(offer)
    await centre.state(first, "completed")
    await centre.set_presence(ann, "break")
    bob = await centre.agent("bob")

    second = await centre.post(**about)
    await centre.state(second, "queued")
    trace = await centre.administrator.trace(second)
    assert [one["type"] for one in trace["decisions"]] == ["contact.queued", "step.joined"]
    assert [bob.name, "need"] in trace["now"]["agents"]
    await ann.set_presence("available")
    await centre.offer(ann, second)


async def test_a_contact_is_scheduled_and_another_called_back(centre: Centre) -> None:
    await centre.open()
    due = (datetime.now(UTC) + timedelta(seconds=4)).isoformat()
    later = await centre.post(routing={"not_before": due})
    waiting = await centre.post()
    await centre.state(later, "scheduled")
    await centre.integration.call_back(waiting)
    assert await centre.journey(waiting, "contact.callback_arranged")

    ann = await centre.agent("ann")
    offer = await centre.offer(ann, waiting)
    assert offer["channel"] == "callback"
    await ann.accept(offer)
    await ann.complete(offer)
    await centre.offer(ann, later)


async def test_a_full_queue_ends_the_contact_with_its_reason(centre: Centre) -> None:
    await centre.open(policy={"length_max": 1})
    first, second = await centre.post(), await centre.post()

    await centre.state(second, "overflowed")
    assert (await centre.state(first, "queued"))["id"] == first
    trace = await centre.administrator.trace(second)
    assert trace["decisions"][-1]["reason"] == "queue_full" and trace["now"] is None


async def test_any_router_tells_the_wait_and_the_trace(centre: Centre, platform: RunningPlatform) -> None:
    await centre.open(policy={"home": {"expected_handle_ms": 120_000}})
    await centre.agent("ann", presence="break")
    ids = [await centre.post() for _ in range(3)]
    for contact_id in ids:
        await centre.state(contact_id, "queued")

    async def all_agree() -> bool:
        waits = [await centre.administrator.wait(ids[2]) for _ in range(2 * len(platform.running.router))]
        return all((one["position"], one["agents"]) == (3, 1) for one in waits)

    assert len(platform.running.router) == 2
    await eventually(all_agree)
    told = await centre.administrator.wait(ids[2])
    assert 0 < told["p50_ms"] < told["p90_ms"] and told["p50_ms"] > 240_000
    with pytest.raises(Refused) as refused:
        await centre.administrator.wait("00000000-0000-0000-0000-000000000000")
    assert refused.value.kind == "not-found"


@pytest.mark.parametrize(
    ("policy", "pointer", "word"),
    [
        ({"need": {"skill": "no-such-skill"}}, "/policy/need", "no skill"),
        ({"length_max": 0}, "/policy/length_max", "zero"),
        ({"hours": {"zone": "Mars/Olympus", "weekly": []}}, "/policy/hours/zone", "time zone"),
        ({"overflow": [{"when": {"closed": True}, "queue": "nowhere"}]}, "/policy/overflow/0/queue", "no queue"),
        ({"steps": [{"need": {"not": {}}, "expires_ms": 1000}]}, "/policy/steps/0/need", "nobody"),
        ({"order": {"method": "by_magic"}}, "/policy/order/method", "Invalid enum"),
    ],
)
async def test_a_policy_that_cannot_work_is_refused_with_path_and_reason(
    centre: Centre, policy: dict[str, Any], pointer: str, word: str
) -> None:
    await centre.open()
    before = await centre.administrator.queue(centre.queue)

    with pytest.raises(Refused) as refused:
        await centre.administrator.put_queue(centre.queue, {"pool": centre.name, "policy": policy})

    (error,) = refused.value.problem["errors"]
    assert error["pointer"] == pointer and word in error["detail"]
    assert await centre.administrator.queue(centre.queue) == before


async def test_policies_as_code_show_what_would_change_and_change_it(
    centre: Centre, platform: RunningPlatform, tmp_path: Path
) -> None:
    await centre.open()
    by_night = {"overflow": [{"when": {"closed": True}, "queue": f"night-{centre.name}"}]}
    wanted = {
        "skills": [f"tax-{centre.name}"],
        "queues": {
            centre.queue: {"pool": centre.name, "policy": by_night},
            f"night-{centre.name}": {"pool": centre.name, "policy": {"need": {"skill": f"tax-{centre.name}"}}},
        },
    }
    file = tmp_path / "policies.yaml"
    file.write_text(json.dumps(wanted))  # JSON is YAML

    dry = command("apply", str(file), "--dry-run", home=platform.home.folder)
    assert dry.returncode == 0, dry.stderr
    assert f"+ queue night-{centre.name}" in dry.stdout and f"~ queue {centre.queue}" in dry.stdout
    assert centre.queue in await centre.administrator.queues()
    assert f"night-{centre.name}" not in await centre.administrator.queues()

    done = command("apply", str(file), home=platform.home.folder)
    assert done.returncode == 0, done.stderr
    again = command("apply", str(file), "--dry-run", home=platform.home.folder)
    assert "0 would change" in again.stdout
    bad = tmp_path / "bad.toml"
    bad.write_text(f'[queues."{centre.queue}"]\npool = "{centre.name}"\npolicy.length_max = 0\n')
    refused = command("apply", str(bad), "--dry-run", home=platform.home.folder)
    assert refused.returncode == 2 and f"queues.{centre.queue}.policy.length_max" in refused.stderr
