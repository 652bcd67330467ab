"""The HTTP reference: every service's OpenAPI description, and a page for people made from it."""

import json
from typing import Any, cast

from fastapi import FastAPI

import agent_presence.admin_api
import agent_presence.api
import intake.admin_api
import intake.api
import reporting.api
import router.inspection.api
import router.policies.api
from agent_presence.inboxes import Inboxes
from agent_presence.limits import AgentLimits
from common.runtime.http import make_app
from common.runtime.lifecycle import Running

NOBODY = cast(Any, None)
"""Stands where a part would be that only a request needs: the routes are looked at and never called."""
Schema = dict[str, Any]
EVERYWHERE = {
    *("unauthenticated", "forbidden", "try-again", "invalid-request"),
    *("malformed-json", "too-large", "unsupported-media-type"),
}
"""Problems of any operation; the page says so once."""


def descriptions() -> dict[str, Schema]:
    """The OpenAPI description of each service, as its `/openapi.json` gives it."""
    intake.api.add_routes(
        intake_app := _app("Porchlight intake"),
        accepting=NOBODY, contacts=NOBODY, keys=NOBODY, rate=NOBODY, verifier=NOBODY, relay=NOBODY, clock=NOBODY,
    )  # fmt: skip
    intake.admin_api.add_admin_routes(intake_app, keys=NOBODY, verifier=NOBODY, clock=NOBODY)
    router.policies.api.add_routes(
        router_app := _app("Porchlight router"),
        queues=NOBODY, hand_over=NOBODY, verifier=NOBODY, clock=NOBODY, scorers=frozenset(),
    )  # fmt: skip
    router.inspection.api.add_view_routes(router_app, views=NOBODY, verifier=NOBODY, clock=NOBODY)
    presence_app = _app("Porchlight agent presence")
    limits = AgentLimits(Inboxes(), polls_max=1, sign_ins_per_min=1, changes_per_s=1)
    parts = {**dict.fromkeys(agent_presence.api.Desk.__dataclass_fields__, NOBODY), "limits": limits}
    desk = agent_presence.api.Desk(**parts)
    agent_presence.api.add_routes(presence_app, desk)
    agent_presence.admin_api.add_admin_routes(
        presence_app, directory=NOBODY, sessions=NOBODY, outbox=NOBODY, verifier=NOBODY, clock=NOBODY
    )
    reporting.api.add_routes(
        reporting_app := _app("Porchlight reporting"), figures=NOBODY, verifier=NOBODY, clock=NOBODY, links=[]
    )
    return {
        "intake": intake_app.openapi(),
        "router": router_app.openapi(),
        "agent-presence": presence_app.openapi(),
        "reporting": reporting_app.openapi(),
    }


def _app(title: str) -> FastAPI:
    async def ready() -> dict[str, str]:
        return {}

    return make_app(title=title, description="", running=Running(), ready=ready)


def page(note: str) -> str:
    """The reference for people."""
    lines = [
        note,
        "# HTTP reference",
        "",
        "Every operation by service; the gateway has them all under one address. Bodies are JSON of at most 64 KiB. Any"
        " operation may also answer 401, 403, 422 `invalid-request` and 503; one that is not a GET 400 `malformed-json`, 413 and"
        " 415. Every problem has a way out: [problems.md](problems.md). The same as OpenAPI 3.1, with"
        " examples of every answer: `docs/openapi/`, and `/docs` of each service.",
    ]
    for service, described in descriptions().items():
        lines += ["", f"## {service.capitalize()}"]
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                lines += _operation(method.upper(), path, operation, described)
    return "\n".join(lines) + "\n"


def _operation(method: str, path: str, operation: Schema, described: Schema) -> list[str]:
    lines = ["", f"### {method} {path}", ""]
    said = operation.get("description") or operation["summary"]
    lines += [" ".join(said.split()).rstrip(".") + "."]
    rows = [
        (f"`{one['name']}` ({one['in']})", one["schema"], one["required"], one.get("description", ""))
        for one in operation.get("parameters", [])
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    shape: Schema = _resolved(body, described) if body else {}
    for name, field in shape.get("properties", {}).items():
        rows.append((f"`{name}`", field, name in shape.get("required", []), field.get("description", "")))
    if rows:
        lines += ["", "| given | type | must | meaning |", "| --- | --- | --- | --- |"]
        lines += [f"| {name} | {_type(kind)} | {'yes' if must else ''} | {what} |" for name, kind, must, what in rows]
    for example in shape.get("examples", [])[:1]:
        lines += ["", "```json", json.dumps(example, ensure_ascii=False), "```"]
    lines += ["", "Answers: " + "; ".join(_answers(operation)) + "."]
    return lines


def _answers(operation: Schema) -> list[str]:
    found = []
    for status, one in operation["responses"].items():
        problems = one.get("content", {}).get("application/problem+json", {}).get("examples", {})
        if not problems:
            found.append(f"**{status}**")
        elif named := [name for name in problems if name not in EVERYWHERE]:
            found.append(f"{status} " + ", ".join(f"`{name}`" for name in named))
    return found


def _resolved(schema: Schema, described: Schema) -> Schema:
    name = schema.get("$ref", "").rpartition("/")[2]
    return cast(Schema, described["components"]["schemas"][name]) if name else schema


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    bounds = [
        f"{word} {schema[name]:g}"
        for name, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "at most"), ("maxItems", "at most"))
        if name in schema
    ]
    kind = str(schema.get("type", "anything"))
    return " ".join([{"string": "text", "null": "nothing"}.get(kind, kind), *bounds])
