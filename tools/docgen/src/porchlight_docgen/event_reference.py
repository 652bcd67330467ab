"""The event reference: topics and facts as AsyncAPI 3, made from the catalogue."""

from typing import Any

import msgspec

from common.contracts.topics import CATALOGUE, SHARDS, Topic

MEANINGS = {
    "ce_specversion": "Always 1.0: CloudEvents in Kafka's binary mode.",
    "ce_id": "The fact's id, made before the first attempt to publish it: a repetition has the same.",
    "ce_type": "The fact's type, also in the value.",
    "ce_source": "Who published it, for example /porchlight/intake.",
    "ce_subject": "The record's key.",
    "ce_time": "When it happened.",
    "content-type": "Of the value.",
    "ce_correlationid": "The X-Correlation-Id of the request that all this began with.",
    "ce_sequence": "Facts of the router only: the place in the shard's log, without gaps.",
    "ce_epoch": "Facts of the router only: the reign that wrote it.",
    "traceparent": "W3C Trace Context, where traces are on.",
}
ALWAYS = ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "content-type")


def description() -> dict[str, Any]:
    """The AsyncAPI document."""
    facts = [fact for topic in CATALOGUE for fact in topic.facts]
    _, schemas = msgspec.json.schema_components(facts, ref_template="#/components/schemas/{name}")
    headers = {"type": "object", "required": list(ALWAYS), "properties": {}}
    headers["properties"] = {name: {"type": "string", "description": text} for name, text in MEANINGS.items()}
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Porchlight facts",
            "version": "1",
            "description": "What happened, in the past tense. Anything may come twice; nobody is told to do anything.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": {_name(topic): _channel(topic) for topic in CATALOGUE},
        "operations": {
            f"publish_{_name(topic)}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{_name(topic)}"},
                "summary": f"By {topic.owner}.",
            }
            for topic in CATALOGUE
        },
        "components": {
            "schemas": {**schemas, "Headers": headers},
            "messages": {_tag(fact): _message(fact) for fact in facts},
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    settings: dict[str, Any] = {"cleanup.policy": ["compact"]}
    if topic.retention_hours is not None:
        settings = {"cleanup.policy": ["delete"], "retention.ms": topic.retention_hours * 3_600_000}
    return {
        "address": topic.name,
        "description": f"Owner: {topic.owner}. The partition is the shard of the fact's pool; the key is {topic.key}.",
        "messages": {_tag(fact): {"$ref": f"#/components/messages/{_tag(fact)}"} for fact in topic.facts},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": SHARDS,
                "topicConfiguration": settings,
                "bindingVersion": "0.5.0",
            }
        },
    }


def _message(fact: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        "name": _tag(fact),
        "summary": " ".join((fact.__doc__ or "").split()),
        "headers": {"$ref": "#/components/schemas/Headers"},
        "payload": {"$ref": f"#/components/schemas/{fact.__name__}"},
    }


def _tag(fact: type[msgspec.Struct]) -> str:
    return str(fact.__struct_config__.tag)


def _name(topic: Topic) -> str:
    """Keys of AsyncAPI have no dots."""
    return topic.name.replace(".", "_")
