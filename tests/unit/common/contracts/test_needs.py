"""Needs from outside: what is refused, and that refusing it costs little."""

import json
from typing import Any

import pytest

from common.contracts.needs import (
    DEPTH_MAX,
    NESTING_MAX,
    PARTS_MAX,
    BadNeed,
    is_impossible,
    is_nested_too_deep,
    parts,
    read_need,
)
from common.contracts.policies import ANYBODY, Need


def nested(levels: int, kind: str = "all") -> dict[str, Any]:
    need: dict[str, Any] = {"skill": "es"}
    for _ in range(levels - 1):
        need = {"not": need} if kind == "not" else {kind: [need]}
    return need


@pytest.mark.parametrize(
    ("need", "reason"),
    [
        (nested(DEPTH_MAX + 1), "deep"),
        (nested(DEPTH_MAX + 1, "any"), "deep"),
        (nested(DEPTH_MAX + 1, "not"), "deep"),
        (nested(100_000), "deep"),
        (nested(100_000, "not"), "deep"),
        ({"any": [{"skill": "es"}] * PARTS_MAX}, "parts"),
        ({"all": [{"any": [{"skill": "es"}] * 10}] * 10}, "parts"),
        ({"language": "\u0000"}, "printed"),
        ({"language": "e\ns"}, "printed"),
        ({"all": [{"agent": "\ud800"}]}, "printed"),
        ({"skill": "s" * 65}, "64 characters"),
        ({"agent": "a" * 256}, "255 characters"),
        ({"attribute": "team"}, "value"),
        ({"value": "red"}, "value"),
        ({"skill": "es", "min_level": -5}, "levels"),
        ({"skill": "es", "max_level": 10**30}, "levels"),
        ({"skill": "es", "min_level": 10**400}, "levels"),
        ({"skill": "es", "min_level": 90, "max_level": 10}, "levels"),
        ({"skill": "unknown"}, "no skill"),
        ({"not": {"any": [{"skill": "unknown"}]}}, "no skill"),
        ({"all": [{"region": "a"}, {"region": "b"}]}, "nobody"),
        ({"all": [{"agent": "ann"}, {"agent": "bob"}]}, "nobody"),
        ({"all": [{"attribute": "team", "value": "a"}, {"attribute": "team", "value": "b"}]}, "nobody"),
        ({"all": [{"skill": "es", "min_level": 60}, {"skill": "es", "max_level": 50}]}, "nobody"),
        ({"region": "a", "not": {"region": "a"}}, "nobody"),
        ({"language": "es", "all": [{"not": {"language": "es"}}]}, "nobody"),
        ({"skill": "es", "min_level": 60, "not": {"skill": "es", "min_level": 50}}, "nobody"),
        ({"not": {}}, "nobody"),
        ({"region": "a", "any": [{"region": "b"}, {"region": "c"}]}, "nobody"),
        ({"any": [{"all": [{"region": "a"}, {"region": "b"}]}]}, "nobody"),
        ({"sk\ud800ill": "es"}, "surrogates"),
        ({"skill": 5}, "Expected `str`"),
        ([], "Expected `object`"),
        ("es", "Expected `object`"),
    ],
)
def test_a_need_that_hurts_or_cannot_be_met_is_refused_with_the_reason(need: Any, reason: str) -> None:
    with pytest.raises(BadNeed, match=reason) as why:
        read_need(need, skills={"es"})

    json.dumps(str(why.value), ensure_ascii=False).encode()  # any answer can carry it


@pytest.mark.parametrize(
    "need",
    [
        {},
        nested(DEPTH_MAX),
        nested(DEPTH_MAX, "not"),
        {"any": [{"skill": "es"}] * (PARTS_MAX - 1)},
        {"skill": "es", "min_level": 0, "max_level": 100},
        {"language": "zh-Hant-日本", "region": "US-TX", "attribute": "team", "value": "red", "agent": "ann"},
        {"region": "a", "not": {"region": "b"}},
        {"all": [{"attribute": "a", "value": "x"}, {"attribute": "b", "value": "y"}]},
        {"region": "a", "any": [{"region": "b"}, {"language": "es"}]},
        {"all": [{"language": "es"}, {"language": "fr"}]},
        {"skill": "es", "max_level": 60, "not": {"skill": "es", "min_level": 50}},
        {"not": {"all": [{"region": "a"}, {"region": "b"}]}},
    ],
)
def test_every_other_need_is_taken(need: dict[str, Any]) -> None:
    assert isinstance(read_need(need, skills={"es"}), Need)


def test_skills_are_not_looked_at_where_nobody_knows_them() -> None:
    assert read_need({"skill": "unknown"}) == Need(skill="unknown")


def test_a_value_that_contains_itself_or_the_same_again_and_again_is_looked_at_in_no_time() -> None:
    ring: list[Any] = []
    ring.append(ring)
    doubled: Any = {}
    for _ in range(NESTING_MAX - 2):
        doubled = {"all": doubled, "any": doubled}

    assert is_nested_too_deep(ring)
    assert not is_nested_too_deep(doubled)


def test_parts_come_in_the_order_in_which_they_are_written() -> None:
    need = Need(skill="a", all=(Need(skill="b", not_=Need(skill="c")),), any=(Need(skill="d"),))

    assert [part.skill for part in parts(need)] == ["a", "b", "c", "d"]
    assert not is_impossible(ANYBODY)
