"""Policies that cannot work, each refused with its path."""

from typing import Any

import msgspec
import pytest

from common.contracts.policies import Need, QueuePolicy
from router.policies.validation import Known, vet

OTHERS = {
    "other": QueuePolicy(),
    "back": msgspec.convert({"overflow": [{"when": {"closed": True}, "queue": "q"}]}, QueuePolicy),
    "split": msgspec.convert({"split": [{"queue": "other", "percent": 10}]}, QueuePolicy),
}


def faults(policy: dict[str, Any], base: Need | None = None) -> list[str]:
    known = Known(skills={"es", "tax"}, queues=OTHERS, scorers=frozenset({"value"}))
    return [fault.path for fault in vet("q", base or Need(), msgspec.convert(policy, QueuePolicy), known)]


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        ({"need": {"skill": "unknown"}}, "need"),
        ({"need": {"skill": "es", "min_level": 80, "max_level": 20}}, "need"),
        ({"need": {"attribute": "team"}}, "need"),
        ({"need": {"all": [{"region": "US-TX"}, {"region": "US-OH"}]}}, "need"),
        ({"steps": [{"need": {"not": {}}, "expires_ms": 1_000}]}, "steps[0].need"),
        (
            {
                "need": {"skill": "es", "max_level": 50},
                "steps": [{"need": {"skill": "es", "min_level": 60}, "expires_ms": 9}],
            },
            "steps[0].need",
        ),
        ({"steps": [{"need": {"skill": "es"}, "expires_ms": 0}]}, "steps[0].expires_ms"),
        ({"sticky": [{"to": "last_agent", "wait_ms": -1}]}, "sticky[0].wait_ms"),
        ({"order": {"method": "ratio"}}, "order.share_percent"),
        ({"order": {"points_per_second": 0}}, "order"),
        ({"escalations": [{"after_ms": 9, "priority": 1}, {"after_ms": 9, "priority": 2}]}, "escalations[1].after_ms"),
        ({"escalations": [{"after_ms": 9, "priority": 9_999}]}, "escalations[0].priority"),
        ({"choice": {"method": "best_fit"}}, "choice.weights"),
        ({"choice": {"method": "best_fit", "weights": {"unknown": 1}}}, "choice.weights.unknown"),
        ({"choice": {"method": "scorer", "scorer": "unknown"}}, "choice.scorer"),
        ({"micro_batch": {"window_ms": 10}}, "micro_batch"),
        ({"capacity": {"units": {"telex": 1}}}, "capacity.units.telex"),
        ({"capacity": {"units": {"chat": 0}}}, "capacity.units.chat"),
        ({"capacity": {"interrupts": ["telex"]}}, "capacity.interrupts"),
        ({"offers": {"parallel": 51}}, "offers.parallel"),
        ({"offers": {"parallel": 2, "auto_accept": True}}, "offers.auto_accept"),
        ({"offers": {"strikes": 0}}, "offers.strikes"),
        ({"offers": {"timeouts_ms": {"chat": 5}}}, "offers.timeouts_ms.chat"),
        ({"length_max": 0}, "length_max"),
        ({"ttl_ms": 0}, "ttl_ms"),
        ({"overflow": [{"when": {}, "message": "no"}]}, "overflow[0].when"),
        ({"overflow": [{"when": {"closed": True}}]}, "overflow[0]"),
        ({"overflow": [{"when": {"closed": True}, "queue": "q"}]}, "overflow[0].queue"),
        ({"overflow": [{"when": {"closed": True}, "queue": "nowhere"}]}, "overflow[0].queue"),
        ({"overflow": [{"when": {"closed": True}, "queue": "back"}]}, "overflow"),
        ({"split": [{"queue": "other", "percent": 60}, {"queue": "other", "percent": 60}]}, "split"),
        ({"split": [{"queue": "split", "percent": 60}]}, "split[0].queue"),
        ({"borrow": {"lender": "other", "when": {}}}, "borrow.when"),
        ({"borrow": {"lender": "nowhere", "when": {"length_over": 1}}}, "borrow.lender"),
        ({"fair": {"offers": 0, "window_ms": 60_000}}, "fair"),
        ({"home": {"link_score_min": 101}}, "home.link_score_min"),
        ({"headroom": {"queue": "other", "agents": 0}}, "headroom.agents"),
        ({"headroom": {"queue": "other", "agents": 1, "channel": "telex"}}, "headroom.channel"),
        ({"hours": {"zone": "Nowhere", "weekly": []}}, "hours.zone"),
        ({"transfers_max": 1_000}, "transfers_max"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_where_it_cannot(policy: dict[str, Any], path: str) -> None:
    assert path in faults(policy)


def test_the_queues_own_requirements_count_too() -> None:
    step = {"steps": [{"need": {"skill": "es", "max_level": 20}, "expires_ms": 1_000}]}

    assert faults(step) == []
    assert faults(step, base=Need(skill="es", min_level=50)) == ["steps[0].need"]


def test_the_default_policy_works() -> None:
    assert faults({}) == []


@pytest.mark.parametrize(
    "unknown", [{"lenght_max": 3}, {"order": {"metod": "slack"}}, {"length_max": "3"}, {"steps": {}}]
)
def test_what_is_not_of_the_schema_is_no_policy(unknown: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(unknown, QueuePolicy)
