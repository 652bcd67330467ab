"""Wait estimates on simulated days of several kinds, each with a fixed seed: what was said came true as often as it should."""

from collections.abc import Mapping

import pytest

from common.contracts.policies import Offers, QueuePolicy
from porchlight.replay import demo_day
from porchlight.replay.command import DEMO_FILE
from porchlight.simulate.recorded_day import bank_day
from porchlight_simulator.foresight import Judged, foresight
from porchlight_simulator.scenario import AgentSpec, Draw, Outage, QueueSpec, Scenario, Shift, Stream

AT_ONCE = QueuePolicy(offers=Offers(auto_accept=True))
TALK = Draw(lognormal=(180.0, 0.93))
"""Minutes of talk as a real bank has them: the logarithm's standard deviation is 0.93."""
PATIENCE = Draw(exponential=500.0)


def skills() -> Scenario:
    """Two queues that share some of their agents."""
    return Scenario(
        queues={"a": QueueSpec(policy=AT_ONCE, skills={"a": 1}), "b": QueueSpec(policy=AT_ONCE, skills={"b": 1})},
        agents=(
            AgentSpec(name="x", count=5, skills={"a": 50}),
            AgentSpec(name="y", count=4, skills={"a": 50, "b": 50}),
            AgentSpec(name="z", count=2, skills={"b": 50}),
        ),
        arrivals=(
            Stream(name="a", queue="a", rate=0.037, handle=TALK, patience=PATIENCE),
            Stream(name="b", queue="b", rate=0.022, handle=TALK, patience=PATIENCE),
        ),
        horizon=72_000.0,
    )


def chats_and_calls() -> Scenario:
    """Agents who have one call or three chats at a time."""
    chat = Draw(lognormal=(500.0, 0.93))
    return Scenario(
        queues={"calls": QueueSpec(policy=AT_ONCE), "chats": QueueSpec(policy=AT_ONCE)},
        agents=(AgentSpec(name="a", count=12),),
        arrivals=(
            Stream(name="v", queue="calls", rate=0.025, handle=TALK, patience=PATIENCE),
            Stream(name="c", queue="chats", channel="chat", rate=0.045, handle=chat, patience=Draw(exponential=900.0)),
        ),
        horizon=144_000.0,
    )


def priorities() -> Scenario:
    """Two fifths of the contacts go before the others."""
    return Scenario(
        queues={"q": QueueSpec(policy=AT_ONCE)},
        agents=(AgentSpec(name="a", count=10),),
        arrivals=(
            Stream(name="low", queue="q", rate=0.03, handle=TALK, patience=PATIENCE),
            Stream(name="high", queue="q", rate=0.02, priority=3, handle=TALK, patience=PATIENCE),
        ),
        horizon=72_000.0,
    )


def rush() -> Scenario:
    """The load doubles and goes back, a second shift comes and goes, lines are lost, agents take seconds to answer and wrap up."""
    slow = Draw(uniform=(1.0, 8.0))
    return Scenario(
        queues={"q": QueueSpec(wrap_up_ms=30_000)},
        agents=(
            AgentSpec(name="a", count=10, answers_after=slow, outages=Outage(every=7_200.0, lasts=60.0)),
            AgentSpec(name="b", count=6, answers_after=slow, shifts=(Shift(start=7_200.0, end=25_000.0),)),
        ),
        arrivals=(
            Stream(
                name="v",
                queue="q",
                piecewise=((0.0, 0.03), (7_200.0, 0.072), (18_000.0, 0.055), (25_000.0, 0.04)),
                handle=TALK,
                patience=PATIENCE,
            ),
        ),
        horizon=72_000.0,
    )


DAYS: Mapping[str, Scenario] = {
    "two skills": skills(),
    "chats and calls": chats_and_calls(),
    "priorities": priorities(),
    "a rush": rush(),
    "the demo day": bank_day(DEMO_FILE, demo_day.DAY, seed=1, replications=2),
}


@pytest.mark.parametrize("day", DAYS)
def test_half_wait_no_longer_than_the_median_and_nine_of_ten_than_the_90th_percentile(day: str) -> None:
    found = foresight(DAYS[day])

    assert set(found) == {stream.channel for stream in DAYS[day].arrivals}
    for channel, judged in found.items():
        assert judged.waits > 300, (channel, judged)
        assert 0.45 <= judged.p50 <= 0.55, (channel, judged, judged.p50)
        assert 0.88 <= judged.p90 <= 0.92, (channel, judged, judged.p90)


def test_the_same_seed_is_judged_alike() -> None:
    assert foresight(priorities()) == foresight(priorities())
    assert Judged().p50 == Judged().p90 == 0.0
