"""API keys, and the states that follow from the router's facts."""

import pytest

from common.contracts import routing
from common.contracts.topics import ROUTING
from intake.domain import STATE_AFTER, key_hash, split_key


def test_a_key_is_split_into_its_id_and_its_secret() -> None:
    secret = "s_" * 20

    assert split_key(f"plk_abc_{secret}") == ("abc", secret)


@pytest.mark.parametrize(
    "credential", ["", "plk", "plk_a_short", "xyz_a_" + "s" * 40, "plk__" + "s" * 40, "plk_a_" + "s" * 300]
)
def test_what_is_not_of_the_form_is_no_key(credential: str) -> None:
    assert split_key(credential) is None


def test_the_hash_depends_on_the_pepper() -> None:
    assert key_hash(secret="s", pepper="a") != key_hash(secret="s", pepper="b")


def test_every_transition_of_a_contact_has_a_state() -> None:
    transitions = {fact for fact in ROUTING.facts if "queue" in fact.__struct_fields__}

    aside = {routing.StepJoined, routing.StepExpired, routing.StepSkipped, routing.ContactEscalated}
    assert set(STATE_AFTER) == transitions - aside
