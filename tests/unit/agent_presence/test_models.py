"""What administrators may say of an agent."""

import pytest
from pydantic import ValidationError

from agent_presence.models import AgentIn, AgentOut, KeptLimits, Limits


def test_a_limit_for_a_channel_that_there_is_not_is_refused() -> None:
    assert AgentIn(pool="p", channel_max={"chat": 2}).channel_max == {"chat": 2}
    with pytest.raises(ValidationError, match=r"channel_max\.fax"):
        AgentIn(pool="p", channel_max={"fax": 1})  # type: ignore[dict-item]


def test_an_agent_who_was_defined_with_one_long_ago_is_still_shown() -> None:
    shown = AgentOut(
        pool="p",
        channel_max={"fax": 1},
        agent_id="ann",
        presence="offline",
        limits=KeptLimits(shift_ends_ms=1_795_640_400),
    )

    assert shown.channel_max == {"fax": 1}
    assert shown.limits.shift_ends_ms == 1_795_640_400


@pytest.mark.parametrize("name", ["shift_ends_ms", "break_due_ms", "premium_from_ms", "denied_from_ms"])
@pytest.mark.parametrize("value", [0, 1_795_640_400, 978_307_199_999, 4_102_444_800_001, 1_795_640_400_000_000])
def test_a_limit_in_another_unit_than_milliseconds_is_refused(name: str, value: int) -> None:
    assert Limits.model_validate({name: 1_795_640_400_000}).model_dump(exclude_none=True)[name] == 1_795_640_400_000
    with pytest.raises(ValidationError, match=name):
        Limits.model_validate({name: value})
