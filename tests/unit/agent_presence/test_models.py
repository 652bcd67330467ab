"""What administrators may say of an agent."""

import pytest
from pydantic import ValidationError

from agent_presence.models import AgentIn, AgentOut, Limits


def test_a_limit_for_a_channel_that_there_is_not_is_refused() -> None:
    assert AgentIn(pool="p", channel_max={"chat": 2}).channel_max == {"chat": 2}
    with pytest.raises(ValidationError, match=r"channel_max\.fax"):
        AgentIn(pool="p", channel_max={"fax": 1})  # type: ignore[dict-item]


def test_an_agent_who_was_defined_with_one_long_ago_is_still_shown() -> None:
    shown = AgentOut(pool="p", channel_max={"fax": 1}, agent_id="ann", presence="offline", limits=Limits())

    assert shown.channel_max == {"fax": 1}
