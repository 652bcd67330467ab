"""Bad input to every public API: a documented problem with a way out, never a 5xx, and nothing changed."""

import json
import time
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.runtime.clock import new_id
from common.testing.eventually import eventually
from porchlight.clients.apply import apply, wait_until_known
from porchlight.jobs.keys import create_api_key
from tests.support.platforms import RunningPlatform

GOOD: dict[str, Any] = {"queue": "refusals", "channel": "voice"}
NOBODY = "00000000-0000-7000-8000-000000000000"
SET_UP = {
    "skills": ["refusing"],
    "queues": {
        "refusals": {"pool": "refusals", "requirements": [{"skill": "refusing"}]},
        "commands": {"pool": "commands", "requirements": [{"skill": "refusing"}]},
    },
    "agents": {
        "ref-ann": {"pool": "commands", "skills": {"refusing": 50}},
        "ref-bob": {"pool": "commands", "skills": {"refusing": 50}},
    },
}


class Edge:
    """Raw HTTP to a platform."""

    def __init__(self, platform: RunningPlatform, key: str) -> None:
        self.platform, self.key = platform, key
        self.urls = {
            "intake": platform.running.intake[0],
            "router": platform.running.router[0],
            "presence": platform.running.presence[0],
            "reporting": platform.running.reporting[0],
        }

    def send(
        self, service: str, method: str, path: str, *, credential: str | None = None, **options: Any
    ) -> httpx.Response:
        headers = {**options.pop("headers", {})}
        if credential is not None:
            headers["Authorization"] = f"Bearer {credential}"
        return httpx.request(method, self.urls[service] + path, headers=headers, timeout=15, **options)

    def post(self, body: Any = None, *, key: str | None = "", **options: Any) -> httpx.Response:
        headers = {**options.pop("headers", {})}
        if key is not None:
            headers["Idempotency-Key"] = key or new_id()
        if "content" not in options:
            options["json"] = GOOD if body is None else body
        return self.send("intake", "POST", "/v1/contacts", credential=self.key, headers=headers, **options)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(platform: RunningPlatform) -> Edge:
    async with platform.clients() as clients:
        await apply(clients.administrator(), SET_UP)
        warm = await wait_until_known(clients.integration(), {**GOOD, "requirements": [{"skill": "refusing"}]})
        await clients.integration().cancel(warm["id"], "withdrawn")
    key = await create_api_key(platform.home, client="refusals", owner_dsn=platform.running.owner_dsns["intake"])
    return Edge(platform, key)


def is_problem(answer: httpx.Response, status: int, kind: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == f"urn:porchlight:problem:{kind}" and body["status"] == status
    assert body["title"] and body["detail"] and len(body["way_out"]) > 20
    assert answer.headers["x-correlation-id"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({}, 422, "invalid-request"),
        ([], 422, "invalid-request"),
        ({**GOOD, "colour": "red"}, 422, "invalid-request"),
        ({**GOOD, "priority": "3"}, 422, "invalid-request"),
        ({**GOOD, "priority": 3.5}, 422, "invalid-request"),
        ({**GOOD, "priority": True}, 422, "invalid-request"),
        ({**GOOD, "priority": 10**30}, 422, "invalid-request"),
        ({**GOOD, "channel": "telegraph"}, 422, "invalid-request"),
        ({**GOOD, "queue": "No Such Name!"}, 422, "invalid-request"),
        ({**GOOD, "queue": None}, 422, "invalid-request"),
        ({**GOOD, "customer": {"name": "x" * 201}}, 422, "invalid-request"),
        ({**GOOD, "requirements": [{"skill": "refusing"}] * 17}, 422, "invalid-request"),
        ({**GOOD, "requirements": [{"skill": "refusing", "min_level": 101}]}, 422, "invalid-request"),
        ({**GOOD, "queue": "nowhere"}, 422, "unknown-queue"),
        ({**GOOD, "requirements": [{"skill": "flying"}]}, 422, "unknown-skill"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused(edge: Edge, body: Any, status: int, kind: str) -> None:
    is_problem(edge.post(body), status, kind)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"queue": NaN', b"[" * 5_000, b'"text"', b"null"])
async def test_bytes_that_are_no_json_object_are_refused(edge: Edge, content: bytes) -> None:
    answer = edge.post(content=content, headers={"Content-Type": "application/json"})

    is_problem(answer, answer.status_code, answer.json()["type"].rpartition(":")[2])
    assert answer.status_code in (400, 422)


async def test_a_null_byte_in_text_changes_nothing(edge: Edge) -> None:
    answer = edge.post({**GOOD, "external_id": "a\x00b"})

    is_problem(answer, 422, "invalid-request")


@pytest.mark.parametrize(
    ("service", "method", "path", "body", "role"),
    [
        ("intake", "POST", "/v1/contacts", {**GOOD, "routing": {"need": {"language": "\x00"}}}, None),
        ("intake", "POST", "/v1/contacts", {**GOOD, "routing": {"need": {"language": "\ud800"}}}, None),
        ("intake", "GET", f"/v1/contacts?cursor={NOBODY}%00", None, None),
        ("intake", "GET", "/v1/contacts?limit=4%0B", None, None),
        ("intake", "GET", "/v1/contacts/%00", None, None),
        ("router", "GET", "/v1/queues?cursor=%00", None, "admin"),
        ("router", "PUT", "/v1/queues/bad", {"pool": "x", "policy": {"\ud800": 1}}, "admin"),
        ("router", "PUT", "/v1/queues/bad", {"pool": "x", "policy": {"overflow": [{"message": "\x00"}]}}, "admin"),
        ("router", "GET", "/v1/contacts/%ff/wait", None, "supervisor"),
        ("presence", "GET", "/v1/agents?cursor=%00", None, "admin"),
        ("presence", "GET", "/v1/skills?colour=red", None, "admin"),
        ("presence", "PUT", "/v1/agents/bad", {"pool": "x", "channel_max": {"\x00": 1}}, "admin"),
        ("presence", "PUT", "/v1/agents/bad", {"pool": "x", "channel_max": {"\udfff": 1}}, "admin"),
        ("reporting", "GET", "/v1/queues/%00/summary?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z", None, "admin"),
    ],
)
async def test_text_that_cannot_be_kept_passes_no_border(
    edge: Edge, service: str, method: str, path: str, body: Any, role: str | None
) -> None:
    credential = edge.key if role is None else edge.platform.token("root", role)
    headers = {"Content-Type": "application/json", "Idempotency-Key": new_id()}
    content = None if body is None else json.dumps(body)

    is_problem(
        edge.send(service, method, path, credential=credential, content=content, headers=headers),
        422,
        "invalid-request",
    )


@pytest.mark.parametrize("depth", [150, 300, 4_000])
async def test_a_body_of_absurd_depth_is_refused_before_anybody_descends(edge: Edge, depth: int) -> None:
    need = b'{"not": ' * depth + b'{"skill": "refusing"}' + b"}" * depth
    content = b'{"queue": "refusals", "channel": "voice", "routing": {"need": ' + need + b"}}"

    is_problem(edge.post(content=content, headers={"Content-Type": "application/json"}), 400, "malformed-json")


async def test_the_credential_is_judged_before_anything_else_of_a_request(edge: Edge) -> None:
    for content in (b"{", b'{"queue": "Bad Name!"}', b"x" * 70_000):
        headers = {"Content-Type": "application/json"}
        for service, path in (("intake", "/v1/contacts"), ("presence", f"/v1/offers/{NOBODY}/accept")):
            answer = edge.send(service, "POST", path, credential="nobody", content=content, headers=headers)
            is_problem(answer, 401, "unauthenticated")
    is_problem(edge.send("presence", "GET", "/v1/inbox", credential="nobody"), 401, "unauthenticated")
    is_problem(edge.send("router", "GET", "/v1/queues?limit=x", credential="nobody"), 401, "unauthenticated")
    is_problem(edge.send("reporting", "GET", "/v1/queues/x/summary", credential="nobody"), 401, "unauthenticated")


async def test_a_body_that_is_too_large_is_refused(edge: Edge) -> None:
    big = json.dumps({**GOOD, "customer": {"note": "x" * 70_000}}).encode()

    is_problem(edge.post(content=big, headers={"Content-Type": "application/json"}), 413, "too-large")


async def test_a_body_without_a_length_is_cut_off_at_the_cap(edge: Edge) -> None:
    def endless() -> Any:
        for _ in range(200):
            yield b"x" * 1_000

    is_problem(edge.post(content=endless(), headers={"Content-Type": "application/json"}), 413, "too-large")


async def test_another_media_type_is_refused(edge: Edge) -> None:
    answer = edge.post(content=b"queue=refusals", headers={"Content-Type": "application/x-www-form-urlencoded"})

    is_problem(answer, 415, "unsupported-media-type")


async def test_a_post_without_a_key_is_refused(edge: Edge) -> None:
    is_problem(edge.post(key=None), 400, "idempotency-key-missing")


async def test_a_key_with_another_body_is_refused_and_the_first_contact_stays(edge: Edge) -> None:
    key = new_id()
    first = edge.post(key=key)

    is_problem(edge.post({**GOOD, "channel": "chat"}, key=key), 422, "idempotency-key-reused")

    again = edge.post(key=key)
    assert again.status_code == 202 and again.content == first.content
    assert again.headers["idempotent-replayed"] == "true" and "idempotent-replayed" not in first.headers


@pytest.mark.parametrize("credential", [None, "x", "plk_abc_" + "s" * 43, "nonsense", "x" * 9_000])
async def test_a_key_that_is_not_ours_is_refused(edge: Edge, credential: str | None) -> None:
    answer = edge.send(
        "intake", "POST", "/v1/contacts", credential=credential, json=GOOD, headers={"Idempotency-Key": "k"}
    )

    is_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_contact_of_another_client_does_not_exist(edge: Edge) -> None:
    contact = edge.post().json()["id"]
    running = edge.platform.running
    other = await create_api_key(edge.platform.home, client="other", owner_dsn=running.owner_dsns["intake"])
    path = f"/v1/contacts/{contact}"

    is_problem(edge.send("intake", "GET", path, credential=other), 404, "not-found")
    cancel = {"json": {"reason": "withdrawn"}, "credential": other}
    is_problem(edge.send("intake", "POST", path + "/cancel", **cancel), 404, "not-found")
    assert contact not in edge.send("intake", "GET", "/v1/contacts", credential=other).text


async def test_pages_of_contacts_are_complete_and_without_overlap(edge: Edge) -> None:
    key = await create_api_key(edge.platform.home, client="pages", owner_dsn=edge.platform.running.owner_dsns["intake"])
    mine = Edge(edge.platform, key)
    posted = [mine.post().json()["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    for _ in range(4):
        page = mine.send("intake", "GET", f"/v1/contacts?limit=2{cursor}", credential=key).json()
        seen += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"

    assert seen == sorted(posted, reverse=True)


def forged(edge: Edge) -> dict[str, str]:
    now = int(time.time())
    claims = {"sub": "ref-ann", "role": "agent", "iss": "porchlight", "aud": "porchlight", "iat": now, "exp": now + 99}
    kid = json.loads((edge.platform.home.folder / "jwks.json").read_text())["keys"][0]["kid"]
    pem = (edge.platform.home.folder / "secrets" / "token-key.pem").read_text()
    public = (edge.platform.home.folder / "jwks.json").read_text()
    stranger = Ed25519PrivateKey.generate()

    def sign(**changes: Any) -> str:
        return jwt.encode({**claims, **changes}, pem, algorithm="EdDSA", headers={"kid": kid})

    return {
        "expired": sign(iat=now - 200, exp=now - 100),
        "not yet valid": sign(nbf=now + 600),
        "made for longer than a day": sign(exp=now + 90_000),
        "another audience": sign(aud="elsewhere"),
        "another issuer": sign(iss="elsewhere"),
        "no role": sign(role=None),
        "an unknown role": sign(role="owner"),
        "a stranger's key": jwt.encode(claims, stranger, algorithm="EdDSA", headers={"kid": kid}),
        "an unknown key id": jwt.encode(claims, pem, algorithm="EdDSA", headers={"kid": "other"}),
        "no signature": jwt.encode(claims, None, algorithm="none", headers={"kid": kid}),
        "the public key as a secret": jwt.encode(claims, public.encode() * 2, algorithm="HS256", headers={"kid": kid}),
        "not a token": "a.b.c",
    }


async def test_no_forged_token_is_accepted(edge: Edge) -> None:
    for what, token in forged(edge).items():
        answer = edge.send("presence", "POST", "/v1/session", credential=token, json={})

        assert answer.status_code == 401, what
        is_problem(answer, 401, "unauthenticated")


async def test_a_role_may_do_only_what_is_its_own(edge: Edge) -> None:
    agent, supervisor = edge.platform.token("ref-ann", "agent"), edge.platform.token("sue", "supervisor")
    calls = [
        ("router", "PUT", "/v1/queues/x", {"pool": "x"}),
        ("presence", "PUT", "/v1/agents/x", {"pool": "x"}),
        ("presence", "PUT", "/v1/skills/x", None),
    ]
    for service, method, path, body in calls:
        for token in (agent, supervisor):
            is_problem(edge.send(service, method, path, credential=token, json=body), 403, "forbidden")
    figures = "/v1/queues/refusals/summary?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"
    is_problem(edge.send("reporting", "GET", figures, credential=agent), 403, "forbidden")
    is_problem(edge.send("presence", "POST", "/v1/session", credential=supervisor, json={}), 403, "forbidden")


async def test_an_agent_whom_nobody_defined_cannot_sign_in(edge: Edge) -> None:
    token = edge.platform.token("stranger", "agent")

    is_problem(edge.send("presence", "POST", "/v1/session", credential=token, json={}), 403, "not-an-agent")


@pytest.mark.parametrize(
    ("service", "path", "body", "kind"),
    [
        ("router", "/v1/queues/bad", {"pool": "x", "offer_timeout_ms": 1}, "invalid-request"),
        ("router", "/v1/queues/bad", {"pool": "x", "mood": "good"}, "invalid-request"),
        ("router", "/v1/queues/Bad Name", {"pool": "x"}, "invalid-request"),
        ("router", "/v1/queues/refusals", {"pool": "elsewhere"}, "pool-is-fixed"),
        ("presence", "/v1/agents/bad", {"pool": "x", "skills": {"flying": 10}}, "unknown-skill"),
        ("presence", "/v1/agents/bad", {"pool": "x", "skills": {"refusing": 101}}, "invalid-request"),
        ("presence", "/v1/agents/bad", {"pool": "x", "units": 0}, "invalid-request"),
    ],
)
async def test_an_administrators_mistake_is_refused(edge: Edge, service: str, path: str, body: Any, kind: str) -> None:
    answer = edge.send(service, "PUT", path, credential=edge.platform.token("root", "admin"), json=body)

    is_problem(answer, 409 if kind == "pool-is-fixed" else 422, kind)


async def test_commands_that_are_not_the_agents_to_give_are_refused_and_change_nothing(edge: Edge) -> None:
    ann, bob = edge.platform.token("ref-ann", "agent"), edge.platform.token("ref-bob", "agent")
    numbers = {
        token: {
            "Session-No": str(
                edge.send("presence", "POST", "/v1/session", credential=token, json=body).json()["session_no"]
            )
        }
        for token, body in ((ann, {"presence": "available"}), (bob, {"presence": "away"}))
    }
    contact = edge.post({**GOOD, "queue": "commands"}).json()["id"]

    async def offered() -> Any:
        inbox = edge.send("presence", "GET", "/v1/inbox", credential=ann, headers=numbers[ann]).json()
        return [offer for offer in inbox["offers"] if offer["contact_id"] == contact]

    attempt = (await eventually(offered))[0]["attempt"]

    def ask(token: str, path: str, attempt: int = attempt, command_id: str = "", **more: Any) -> httpx.Response:
        body = {"attempt": attempt, "command_id": command_id or new_id()}
        headers = more.pop("headers", numbers[token])
        return edge.send("presence", "POST", path, credential=token, json=body, headers=headers)

    offer, held = f"/v1/offers/{contact}", f"/v1/contacts/{contact}"
    is_problem(ask(bob, f"{offer}/accept"), 404, "not-found")
    is_problem(ask(bob, f"{offer}/decline"), 404, "not-found")
    is_problem(ask(bob, f"{held}/complete"), 404, "not-found")
    is_problem(ask(ann, f"{held}/complete"), 404, "not-found")
    is_problem(ask(ann, f"{offer}/accept", attempt + 1), 404, "not-found")
    is_problem(ask(ann, f"/v1/offers/{NOBODY}/accept"), 404, "not-found")
    is_problem(ask(ann, f"{offer}/accept", headers={}), 400, "session-number-missing")
    is_problem(ask(ann, f"{offer}/accept", headers={"Session-No": "99999"}), 409, "session-over")
    is_problem(ask(ann, f"{offer}/accept", headers={"Session-No": "one"}), 422, "invalid-request")
    assert await offered(), "the offer is still ann's"

    assert ask(ann, f"{offer}/accept", command_id="the-one-command").status_code == 200
    assert ask(ann, f"{offer}/accept", command_id="the-one-command").status_code == 200
    is_problem(ask(ann, f"{offer}/decline", command_id="the-one-command"), 422, "command-id-reused")
    is_problem(ask(ann, f"{offer}/accept"), 409, "already-done")
    assert ask(ann, f"{held}/complete").status_code == 200
    is_problem(ask(ann, f"{held}/complete"), 409, "offer-over")


@pytest.mark.parametrize(
    ("query", "kind", "status"),
    [
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "bad-interval", 422),
        ("from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "bad-interval", 422),
        ("from=2026-01-01T00:00:00&to=2026-01-02T00:00:00", "invalid-request", 422),
        ("from=yesterday&to=today", "invalid-request", 422),
        ("", "invalid-request", 422),
    ],
)
async def test_an_interval_that_makes_no_sense_is_refused(edge: Edge, query: str, kind: str, status: int) -> None:
    token = edge.platform.token("sue", "supervisor")

    is_problem(edge.send("reporting", "GET", f"/v1/queues/refusals/summary?{query}", credential=token), status, kind)


@pytest.mark.parametrize("service", ["intake", "router", "presence", "reporting"])
async def test_what_is_not_there_is_a_problem_too(edge: Edge, service: str) -> None:
    is_problem(edge.send(service, "GET", "/v1/nothing"), 404, "not-found")
    is_problem(edge.send(service, "DELETE", "/openapi.json"), 405, "method-not-allowed")


@pytest.mark.parametrize("service", ["intake", "router", "presence", "reporting"])
async def test_every_operation_names_the_credential_that_it_asks_for(edge: Edge, service: str) -> None:
    description = edge.send(service, "GET", "/openapi.json").json()

    operations = [operation for path in description["paths"].values() for operation in path.values()]
    assert description["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert operations and all(operation.get("security") == [{"HTTPBearer": []}] for operation in operations)


@pytest.mark.parametrize("service", ["intake", "router", "presence", "reporting"])
async def test_every_operation_documents_its_problems_with_examples(edge: Edge, service: str) -> None:
    description = edge.send(service, "GET", "/openapi.json").json()

    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            problems = [r for status, r in operation["responses"].items() if status.startswith(("4", "5"))]
            assert problems, f"{method} {path}"
            for response in problems:
                assert response["content"]["application/problem+json"]["examples"], f"{method} {path}"
    assert edge.send(service, "GET", "/docs").status_code == 200
    assert edge.send(service, "GET", "/docs/static/swagger-ui-bundle.js").status_code == 200
