"""The references for machines are true: facts fit the schemas of the AsyncAPI file, and every operation has its examples."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from common.contracts.topics import CATALOGUE, SHARDS
from porchlight_docgen import api_reference, event_reference

GOLDEN = Path(__file__).parents[1] / "common" / "contracts" / "golden"
EVENTS = event_reference.description()
SERVICES = api_reference.descriptions()
OPERATIONS = [
    (service, method, path, operation)
    for service, described in SERVICES.items()
    for path, methods in described["paths"].items()
    for method, operation in methods.items()
]


def validator(name: str) -> Draft202012Validator:
    """Of a fact's payload, by the fact's type."""
    payload = EVENTS["components"]["messages"][name]["payload"]
    return Draft202012Validator({**payload, "components": EVENTS["components"]})


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_bytes_of_every_release_fit_the_schema(path: Path) -> None:
    validator(path.parent.name).validate(json.loads(path.read_text()))


@pytest.mark.parametrize("name", sorted(EVENTS["components"]["messages"]))
def test_what_is_not_the_fact_does_not_fit(name: str) -> None:
    fact = json.loads(sorted((GOLDEN / name).iterdir())[-1].read_text())
    schema = EVENTS["components"]["schemas"][
        EVENTS["components"]["messages"][name]["payload"]["$ref"].rpartition("/")[2]
    ]
    for missing in schema["required"]:
        with pytest.raises(ValidationError):
            validator(name).validate({key: value for key, value in fact.items() if key != missing})
    with pytest.raises(ValidationError):
        validator(name).validate({**fact, "type": "contact.teleported"})


def test_every_topic_is_a_channel_with_all_its_facts_and_every_reference_leads_somewhere() -> None:
    channels = {one["address"]: set(one["messages"]) for one in EVENTS["channels"].values()}
    assert channels == {topic.name: {str(fact.__struct_config__.tag) for fact in topic.facts} for topic in CATALOGUE}
    assert {one["bindings"]["kafka"]["partitions"] for one in EVENTS["channels"].values()} == {SHARDS}
    assert [target for target in references(EVENTS) if not leads_somewhere(EVENTS, target)] == []


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [one for part in value.values() for one in references(part)]
    return [one for part in value for one in references(part)] if isinstance(value, list) else []


def leads_somewhere(document: Any, target: str) -> bool:
    found = document
    for part in target.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    return found is not None


def test_a_reference_to_nowhere_is_noticed() -> None:
    assert not leads_somewhere(EVENTS, "#/components/messages/contact.teleported")
    assert references({"a": [{"$ref": "#/b"}]}) == ["#/b"]


@pytest.mark.parametrize(
    ("service", "method", "path", "operation"), OPERATIONS, ids=[f"{one[1]} {one[2]}" for one in OPERATIONS]
)
def test_every_operation_is_explained_and_every_problem_has_an_example_with_a_way_out(
    service: str, method: str, path: str, operation: dict[str, Any]
) -> None:
    assert operation.get("description") or operation["summary"]
    refused = {status: one for status, one in operation["responses"].items() if int(status) >= 400}
    assert {"401", "503"} <= set(refused), f"{service} {method} {path}"
    for status, one in refused.items():
        examples = one["content"]["application/problem+json"]["examples"].values()
        assert examples and all(
            each["value"]["way_out"] and each["value"]["status"] == int(status) for each in examples
        )


def test_every_body_has_an_example_that_fits_it() -> None:
    for service, method, path, operation in OPERATIONS:
        body = operation.get("requestBody")
        if body is None:
            continue
        described = SERVICES[service]
        schema = body["content"]["application/json"]["schema"]
        name = schema["$ref"].rpartition("/")[2]
        examples = described["components"]["schemas"][name].get("examples", [])
        assert examples, f"{method} {path}: {name} has no example"
        for example in examples:
            Draft202012Validator({**schema, "components": described["components"]}).validate(example)
