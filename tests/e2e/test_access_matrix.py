"""Every operation of the four documents by every kind of caller: who may not, gets 401 or 403, whatever else is wrong with it.

The operations come from the documents; who may what is said here, by hand. An operation that is not in the table fails the test.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from porchlight.clients.apply import apply, wait_until_known
from porchlight.installation import SERVICES
from porchlight.jobs.keys import create_api_key
from tests.support.platforms import RunningPlatform, command

pytestmark = pytest.mark.timeout(240)
DOCUMENTS = Path(__file__).parents[2] / "docs" / "openapi"
CELLS_MIN = 500
KEY, AGENT, SUPERVISOR, ADMIN = "key", "agent", "supervisor", "admin"
STAFF = {SUPERVISOR, ADMIN}
COMMANDS = ("respond", "pause", "resume", "transfer", "complete", "wrap-up/end")
MAY: dict[tuple[str, str], set[str]] = {
    ("POST", "/v1/contacts"): {KEY},
    ("GET", "/v1/contacts"): {KEY},
    ("GET", "/v1/contacts/{contact_id}"): {KEY},
    ("POST", "/v1/contacts/{contact_id}/cancel"): {KEY},
    ("POST", "/v1/contacts/{contact_id}/callback"): {KEY},
    ("GET", "/v1/contacts/{contact_id}/customer"): {AGENT},
    ("POST", "/v1/keys"): {ADMIN},
    ("GET", "/v1/keys"): {ADMIN},
    ("PUT", "/v1/keys/{key_id}"): {ADMIN},
    ("POST", "/v1/keys/{key_id}/rotate"): {ADMIN},
    ("POST", "/v1/keys/{key_id}/revoke"): {ADMIN},
    ("PUT", "/v1/queues/{queue_id}"): {ADMIN},
    ("GET", "/v1/queues/{queue_id}"): STAFF,
    ("GET", "/v1/queues"): STAFF,
    ("GET", "/v1/contacts/{contact_id}/wait"): STAFF,
    ("GET", "/v1/contacts/{contact_id}/routing-trace"): STAFF,
    ("POST", "/v1/session"): {AGENT},
    ("DELETE", "/v1/session"): {AGENT},
    ("PUT", "/v1/presence"): {AGENT},
    ("PUT", "/v1/link"): {AGENT},
    ("GET", "/v1/inbox"): {AGENT},
    ("POST", "/v1/offers/{contact_id}/accept"): {AGENT},
    ("POST", "/v1/offers/{contact_id}/decline"): {AGENT},
    **{("POST", f"/v1/contacts/{{contact_id}}/{verb}"): {AGENT} for verb in COMMANDS},
    ("PUT", "/v1/skills/{skill}"): {ADMIN},
    ("GET", "/v1/skills"): STAFF,
    ("PUT", "/v1/agents/{agent_id}"): {ADMIN},
    ("GET", "/v1/agents/{agent_id}"): STAFF,
    ("PUT", "/v1/agents/{agent_id}/limits"): {ADMIN},
    ("DELETE", "/v1/agents/{agent_id}/session"): STAFF,
    ("GET", "/v1/agents"): STAFF,
    ("GET", "/v1/queues/{queue_id}/summary"): STAFF,
    ("GET", "/v1/contacts/{contact_id}/journey"): STAFF,
}
NEEDS_SESSION = {operation for operation, may in MAY.items() if may == {AGENT}} - {("POST", "/v1/session")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`kind`: what the caller really is; empty for a credential that is none."""

    name: str
    kind: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def operations() -> list[tuple[str, str, str]]:
    """(service, method, path) of everything that the documents have."""
    found = []
    for service in SERVICES:
        paths = json.loads((DOCUMENTS / f"{service}.json").read_text())["paths"]
        for path, methods in paths.items():
            found += [(service, name.upper(), path) for name in methods if name in ("get", "put", "post", "delete")]
    return found


def bearer(text: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}", **more}


def forged(platform: RunningPlatform, key: Ed25519PrivateKey | str, **claims: object) -> str:
    """An administrator's token with something wrong about it."""
    now = int(time.time())
    kid = json.loads((platform.home.folder / "jwks.json").read_text())["keys"][0]["kid"]
    whole = {"sub": "eve", "role": "admin", "iss": "porchlight", "aud": "porchlight", "iat": now, "exp": now + 600}
    return jwt.encode({**whole, **claims}, key, algorithm="EdDSA", headers={"kid": kid})


class Matrix:
    """Everybody who may come, and names of things that exist."""

    def __init__(self, platform: RunningPlatform) -> None:
        self.platform = platform
        running = platform.running
        self.urls = {"intake": running.intake[0], "router": running.router[0], "reporting": running.reporting[0]}
        self.urls["agent-presence"] = running.presence[0]
        self.names = {"queue_id": "matrix", "agent_id": "matrix-victim", "skill": "matrix-skill", "key_id": "0" * 12}
        self.callers: list[Caller] = []

    async def prepare(self) -> None:
        agents = {f"matrix-{name}": {"pool": "matrix"} for name in ("ann", "old", "victim", "disabled")}
        async with self.platform.clients(client="matrix") as clients:
            wanted = {"skills": ["matrix-skill"], "queues": {"matrix": {"pool": "matrix"}}, "agents": agents}
            await apply(clients.administrator(), wanted)
            contact = await wait_until_known(clients.integration(), {"queue": "matrix", "channel": "email"})
        self.names["contact_id"] = str(contact["id"])
        dsn = self.platform.running.owner_dsns["intake"]
        key, other, gone = [
            await create_api_key(self.platform.home, client=name, owner_dsn=dsn)
            for name in ("matrix-key", "other", "gone")
        ]
        done = command("keys", "revoke", gone.split("_")[1], home=self.platform.home.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        token = self.platform.token
        private = (self.platform.home.folder / "secrets" / "token-key.pem").read_text()
        disabled = self.sign_in("matrix-disabled")
        self.disable("matrix-disabled")
        old = self.sign_in("matrix-old")
        self.sign_in("matrix-old")
        mine = Ed25519PrivateKey.generate()
        self.callers = [
            Caller(name="nobody"),
            Caller(name="no token", headers=bearer("rubbish")),
            Caller(name="other scheme", headers={"Authorization": "Basic YTpi"}),
            Caller(name="wrong secret", headers=bearer(key[:-4] + "AAAA")),
            Caller(name="revoked key", headers=bearer(gone)),
            Caller(name="foreign signature", headers=bearer(forged(self.platform, mine))),
            Caller(name="expired", headers=bearer(forged(self.platform, private, iat=1, exp=2))),
            Caller(name="other audience", headers=bearer(forged(self.platform, private, aud="elsewhere"))),
            Caller(
                name="too long a life", headers=bearer(forged(self.platform, private, exp=int(time.time()) + 10**8))
            ),
            Caller(name="unknown role", headers=bearer(forged(self.platform, private, role="root"))),
            Caller(name="key", kind=KEY, headers=bearer(key)),
            Caller(name="another's key", kind=KEY, headers=bearer(other)),
            Caller(name="supervisor", kind=SUPERVISOR, headers=bearer(token("matrix-sue", "supervisor"))),
            Caller(name="administrator", kind=ADMIN, headers=bearer(token("matrix-adam", "admin"))),
            Caller(name="agent", kind=AGENT, headers=bearer(token("matrix-ann", "agent"))),
            Caller(name="old session", kind=AGENT, headers=bearer(token("matrix-old", "agent"), **{"Session-No": old})),
            Caller(
                name="disabled",
                kind=AGENT,
                headers=bearer(token("matrix-disabled", "agent"), **{"Session-No": disabled}),
            ),
            Caller(
                name="unknown agent", kind=AGENT, headers=bearer(token("matrix-nobody", "agent"), **{"Session-No": "1"})
            ),
        ]

    def sign_in(self, agent: str) -> str:
        answer = httpx.post(
            f"{self.urls['agent-presence']}/v1/session",
            headers=bearer(self.platform.token(agent, "agent")),
            json={"presence": "available"},
            timeout=20,
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["session_no"])

    def disable(self, agent: str) -> None:
        answer = httpx.put(
            f"{self.urls['agent-presence']}/v1/agents/{agent}",
            headers=bearer(self.platform.token("matrix-adam", "admin")),
            json={"pool": "matrix", "enabled": False},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text

    def ask(self, service: str, method: str, path: str, caller: Caller) -> httpx.Response:
        headers = dict(caller.headers)
        if caller.name == "agent" and (method, path) in NEEDS_SESSION:
            headers["Session-No"] = self.sign_in("matrix-ann")
        body = {} if method in ("POST", "PUT") else None
        url = self.urls[service] + path.format_map(self.names)
        return httpx.request(method, url, headers=headers, json=body, timeout=40)


@pytest.fixture(scope="module")
def matrix(platform: RunningPlatform) -> Iterator[Matrix]:
    found = Matrix(platform)
    asyncio.run(found.prepare())
    yield found


def judged(caller: Caller, operation: tuple[str, str], status: int) -> str:
    """What is wrong with the answer's status; empty when it is right."""
    if status >= 500:
        return "the server's mistake"
    if not caller.kind:
        return "" if status == 401 else "no credential, and not 401"
    if (caller.kind == KEY) != (MAY[operation] == {KEY}):
        return "" if status == 401 else "a key where tokens are asked for, or a token for a key, and not 401"
    if caller.kind not in MAY[operation]:
        return "" if status == 403 else "another role's, and not 403"
    if caller.name in ("old session", "disabled", "unknown agent") and operation != ("POST", "/v1/session"):
        return "" if status in (403, 404, 409, 422) else "no session of theirs, and not refused"
    if caller.name in ("disabled", "unknown agent"):
        return "" if status in (403, 404, 422) else "no agent here, and signed in"
    return "" if status not in (401, 403) else "their right, and refused"


def test_every_operation_is_in_the_table_and_nothing_else() -> None:
    assert {(method, path) for _, method, path in operations()} == set(MAY)


@pytest.mark.parametrize(("service", "method", "path"), operations(), ids=lambda value: str(value))
def test_an_operation_is_done_for_whom_it_is_meant_and_for_nobody_else(
    matrix: Matrix, service: str, method: str, path: str
) -> None:
    wrong = []
    for caller in matrix.callers:
        answer = matrix.ask(service, method, path, caller)
        why = judged(caller, (method, path), answer.status_code)
        if why:
            wrong.append(f"{caller.name}: {answer.status_code}, {why}")
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", f"{caller.name}: {answer.text}"
            assert answer.json()["way_out"], answer.text
    assert wrong == []


def test_there_are_enough_cells(matrix: Matrix) -> None:
    assert len(operations()) * len(matrix.callers) >= CELLS_MIN


def test_anothers_contact_is_not_there(matrix: Matrix) -> None:
    """Of two callers who may do the same, the one does not see what is the other's."""
    other = next(caller for caller in matrix.callers if caller.name == "another's key")
    for method, what in (("GET", ""), ("POST", "/cancel"), ("POST", "/callback")):
        body = {"reason": "withdrawn"} if what == "/cancel" else {}
        url = f"{matrix.urls['intake']}/v1/contacts/{matrix.names['contact_id']}{what}"
        answer = httpx.request(method, url, headers=other.headers, json=body if method == "POST" else None, timeout=20)
        assert answer.status_code == 404, f"{method} {what}: {answer.text}"
