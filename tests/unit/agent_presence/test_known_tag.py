"""What a desktop says that it knows: one version, a list of them, or any."""

import pytest

from agent_presence.polling import known_tag

CURRENT = '"7-3.15-ready"'


@pytest.mark.parametrize("said", [CURRENT, "W/" + CURRENT, f'"7-3.1-ready", {CURRENT}', f'W/{CURRENT},"x"', "*"])
def test_the_current_version_is_known(said: str) -> None:
    assert known_tag(said, CURRENT) == CURRENT


@pytest.mark.parametrize(
    ("said", "known"),
    [(None, None), ("", None), ('"7-3.1-ready"', '"7-3.1-ready"'), ('"a", W/"b"', '"b"'), ("*,x", "x")],
)
def test_another_version_is_known(said: str | None, known: str | None) -> None:
    assert known_tag(said, CURRENT) == known
