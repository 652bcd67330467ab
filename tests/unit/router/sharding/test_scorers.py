"""Scorers of an installation, and how estimates are held against what came true."""

import asyncio
import time
from typing import Any

import pytest

from common.contracts.policies import Choice, Home
from router import metrics
from router.core.model import decisions, events
from router.sharding.scorers import Asking, Question, ask_scorer, load, question
from router.sharding.wait_estimates import Forecasts
from tests.support.builders import arrived, queue, seen
from tests.support.table import Table


def best(_contact: dict[str, Any], agents: list[dict[str, Any]]) -> dict[str, int]:
    return {agent["agent_id"]: agent["skills"].get("es", 0) for agent in agents}


def late(_contact: dict[str, Any], _agents: list[dict[str, Any]]) -> dict[str, int]:
    time.sleep(0.2)
    return {}


def broken(_contact: dict[str, Any], _agents: list[dict[str, Any]]) -> dict[str, int]:
    raise LookupError("no model")


def table_of(scorer: str) -> Table:
    table = Table(queue(choice=Choice(method="scorer", scorer=scorer, budget_ms=50)))
    table.tell(seen("ann", skills=(("es", 10),)), seen("bob", skills=(("es", 90),)), arrived("c1"))
    return table


def asked_about(table: Table) -> Question:
    found = question(table.state, "c1")
    assert found is not None
    return found


async def test_a_scorer_is_asked_about_the_agents_who_could_serve_and_its_best_is_asked() -> None:
    table = table_of("best")

    given = await ask_scorer(asked_about(table), {"best": best})
    assert given == events.ScoresGiven(contact_id="c1", scores={"ann": 10, "bob": 90})
    table.tell(given)
    assert table.offers() == [("c1", "bob")]


@pytest.mark.parametrize("name", ["late", "broken", "unknown"])
async def test_a_scorer_that_is_late_fails_or_is_not_there_is_not_waited_for(name: str) -> None:
    table = table_of(name)

    assert await ask_scorer(asked_about(table), {"late": late, "broken": broken}) is None


def test_scorers_are_named_by_their_place() -> None:
    assert load(f"best={__name__}:best, late={__name__}:late") == {"best": best, "late": late}
    assert load("") == {}
    with pytest.raises(ValueError, match="name=module:function"):
        load("best")


def counted(quantile: str) -> float:
    return float(metrics.wait_within_estimate.labels(quantile)._value.get())


def test_a_wait_is_held_against_its_first_estimate() -> None:
    table = Table(queue(home=Home(expected_handle_ms=60_000)))
    forecasts = Forecasts()
    table.tell(seen(presence="break"))
    before = counted("p50"), counted("p90")
    for name in ("c1", "c2"):
        forecasts.learn(table.state, [(one, table.now_ms) for one in table.tell(arrived(name))])
    told = forecasts.of(table.state, "c2")
    assert told is not None and told.estimate.position == 2

    about: dict[str, Any] = {"queue_id": "billing", "pool": "p", "attempt": 1, "agent_id": "ann", "command_id": ""}
    soon, late_answer = decisions.Accepted(contact_id="c1", **about), decisions.Accepted(contact_id="c2", **about)
    forecasts.learn(table.state, [(soon, table.now_ms + 1), (late_answer, table.now_ms + 10_000_000)])

    assert (counted("p50") - before[0], counted("p90") - before[1]) == (1, 1)


def test_an_estimate_is_told_again_for_five_seconds_and_then_made_anew() -> None:
    table = Table()
    forecasts = Forecasts()
    table.tell(seen(presence="break"), arrived("c1"), at_ms=0)

    first = forecasts.of(table.state, "c1")
    table.tick(4_999)
    assert forecasts.of(table.state, "c1") is first
    table.tick(5_000)
    assert forecasts.of(table.state, "c1") is not first
    assert forecasts.of(table.state, "unknown") is None


def test_a_scorer_that_is_never_in_time_delays_each_contact_by_its_budget_and_no_other() -> None:
    table = Table(queue(choice=Choice(method="scorer", scorer="slow", budget_ms=100)))
    table.tell(*(seen(f"a{number:02d}") for number in range(40)), at_ms=0)
    offered_at: dict[str, int] = {}
    for number in range(30):
        table.tell(arrived(f"c{number:02d}"), at_ms=1_000 + number * 60)  # always one more before the one before is due
        table.state.to_score.clear()
        offered_at |= {contact: table.now_ms for contact, _ in table.offers()}
        table.tick(1_000 + number * 60 + 40)
        offered_at |= {contact: table.now_ms for contact, _ in table.offers()}

    late = {name: at_ms - (1_000 + int(name[1:]) * 60) for name, at_ms in offered_at.items()}
    assert len(late) >= 28 and all(100 <= ms <= 140 for ms in late.values())


def test_who_is_called_back_later_does_not_wait_for_the_scores_of_the_first_time() -> None:
    table = Table(queue(choice=Choice(method="scorer", scorer="slow", budget_ms=100)))
    table.tell(seen("ann"), arrived("c1"))
    wish = events.CallbackAsked(contact_id="c1", not_before_ms=table.now_ms + 5_000, requested_at_ms=table.now_ms)
    table.tell(wish)
    table.tell(events.QueueSet(queue=queue(version=2)))

    table.tick(table.now_ms + 1_000)  # the time for the scores is over while the contact is scheduled
    table.tick(table.now_ms + 5_000)

    assert table.offers() == [("c1", "ann")]


def test_who_waits_for_scores_is_passed_over_and_not_waited_for() -> None:
    scored = queue(choice=Choice(method="scorer", scorer="slow", budget_ms=100))
    table = Table(scored)
    table.tell(seen("ann", presence="break"), arrived("old"), at_ms=0)
    table.tick(200)
    table.tell(arrived("urgent", priority=9), at_ms=300)

    table.tell(seen("ann", seq=2), at_ms=310)

    assert table.offers() == [("old", "ann")]


async def test_questions_run_beside_each_other_and_their_answers_are_fetched_when_they_are_there() -> None:
    table, asking = table_of("best"), Asking({"best": best, "late": late})
    table.tell(arrived("c2"))
    asking.begin(table.state)

    assert len(asking.tasks) == 2 and not table.state.to_score and asking.answers() == []
    await asyncio.wait(asking.tasks)
    assert [given.contact_id for given in asking.answers()] == ["c1", "c2"] and asking.answers() == []
    asking.stop()


async def test_of_too_many_questions_the_last_ones_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.sharding.scorers.ASKED_MAX", 1)
    table, asking = table_of("best"), Asking({"best": best})
    table.tell(arrived("c2"))
    before = metrics.scorer_late._value.get()

    asking.begin(table.state)

    assert len(asking.tasks) == 1 and metrics.scorer_late._value.get() == before + 1
    asking.stop()
