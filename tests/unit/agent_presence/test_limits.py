"""What one agent may ask of one replica."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI

from agent_presence.inboxes import Inboxes
from agent_presence.limits import STRAYS_BURST, AgentLimits, HeldPolls
from common.runtime.auth import Principal
from common.runtime.borders import Judge
from common.runtime.http import make_app
from common.runtime.lifecycle import Running
from common.runtime.problems import ProblemRaised
from tests.support.machines import StillMachine
from tests.unit.agent_presence.test_inboxes import fold, offer


def limits_of(inboxes: Inboxes) -> AgentLimits:
    return AgentLimits(inboxes, polls_max=3, sign_ins_per_min=6, changes_per_s=2.0)


def test_one_poll_too_many_lets_the_oldest_go_and_not_the_newest() -> None:
    inboxes = Inboxes()
    polls = HeldPolls(inboxes, most=3)
    news = inboxes.changed("ann")
    with ExitStack() as stack:
        held = [stack.enter_context(polls.one("ann", waits=True)) for _ in range(3)]
        stack.enter_context(polls.one("bob", waits=True))
        stack.enter_context(polls.one("ann", waits=False))
        assert not news.is_set() and not any(poll.gives_way for poll in held)
        held.append(stack.enter_context(polls.one("ann", waits=True)))
        assert news.is_set() and [poll.gives_way for poll in held] == [True, False, False, False]
        held.append(stack.enter_context(polls.one("ann", waits=True)))
        assert [poll.gives_way for poll in held] == [True, True, False, False, False]
    assert polls._of_agent == {}, "nothing is remembered of polls that ended"


def test_a_poll_that_ended_makes_room() -> None:
    polls = HeldPolls(Inboxes(), most=1)
    for _ in range(3):
        with polls.one("ann", waits=True) as poll:
            assert not poll.gives_way


def test_commands_about_what_the_agent_does_not_have_are_bounded_and_others_are_not(machine: StillMachine) -> None:
    inboxes = Inboxes()
    fold(inboxes, offer())
    limits = limits_of(inboxes)
    for number in range(STRAYS_BURST - 1):
        limits.take_stray("ann", f"unknown-{number}", 1)
    limits.take_stray("ann", "c1", 2)
    with pytest.raises(ProblemRaised) as refused:
        limits.take_stray("ann", "another", 1)
    assert refused.value.problem.status == 429 and refused.value.headers == {"Retry-After": "2"}
    for _ in range(2 * STRAYS_BURST):
        limits.take_stray("ann", "c1", 1)
    limits.take_stray("bob", "c1", 1)
    machine.now_s += 2.1
    limits.take_stray("ann", "another", 1)


@pytest.fixture
async def client(machine: StillMachine) -> AsyncIterator[httpx.AsyncClient]:
    async def named(request: Any) -> Principal:
        return Principal(subject=request.headers["x-who"], role="agent", expires_at_s=1 << 40)

    async def ready() -> dict[str, str]:
        return {}

    agent, limits = Judge(named), limits_of(Inboxes())
    app: FastAPI = make_app(title="t", description="d", running=Running(), ready=ready)
    for path, judge in (
        ("/sign-in", limits.on_sign_in(agent)),
        ("/change", limits.on_change(agent)),
        ("/command", limits.on_command(agent)),
    ):

        async def route(who: Principal = Depends(judge)) -> str:  # noqa: B008 # as FastAPI wants it
            return who.subject

        app.post(path)(route)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        yield client


@pytest.mark.parametrize(("path", "burst", "wait_s"), [("/sign-in", 6, 10), ("/change", 6, 1), ("/command", 6, 1)])
async def test_an_agent_who_asks_too_often_is_told_when_to_come_again_and_others_are_not(
    client: httpx.AsyncClient, machine: StillMachine, path: str, burst: int, wait_s: int
) -> None:
    async def ask(who: str) -> httpx.Response:
        return await client.post(path, headers={"x-who": who})

    assert [(await ask("ann")).status_code for _ in range(burst)] == [200] * burst
    refused = await ask("ann")
    assert refused.status_code == 429 and refused.headers["retry-after"] == str(wait_s)
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["type"] == "urn:porchlight:problem:too-often" and refused.json()["way_out"]
    assert (await ask("bob")).status_code == 200
    machine.now_s += wait_s + 0.01
    assert (await ask("ann")).status_code == 200
