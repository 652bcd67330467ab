"""API keys over HTTP and by the command: one that ends, ends on the running platform within five seconds; scopes hold."""

import json
from typing import Any

import httpx
import pytest_asyncio

from common.runtime.clock import new_id
from common.testing.eventually import eventually
from porchlight.clients.apply import apply, wait_until_known
from tests.support.platforms import RunningPlatform, command

QUEUE = "keyed"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ready(platform: RunningPlatform) -> RunningPlatform:
    async with platform.clients() as clients:
        await apply(clients.administrator(), {"queues": {QUEUE: {"pool": QUEUE}}})
        await wait_until_known(clients.integration(), {"queue": QUEUE, "channel": "chat"})
    return platform


def call(platform: RunningPlatform, method: str, path: str, credential: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {credential}", **options.pop("headers", {})}
    return httpx.request(method, platform.running.intake[0] + path, headers=headers, timeout=15, **options)


def post(platform: RunningPlatform, key: str, **more: Any) -> httpx.Response:
    body = {"queue": QUEUE, "channel": "chat", **more}
    return call(platform, "POST", "/v1/contacts", key, json=body, headers={"Idempotency-Key": new_id()})


def admin(platform: RunningPlatform, method: str, path: str, body: Any = None) -> Any:
    answer = call(platform, method, path, platform.token("root", "admin"), json=body)
    assert answer.is_success, answer.text
    return answer.json()


def kind(answer: httpx.Response) -> tuple[int, str]:
    assert answer.json()["way_out"]
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


async def test_a_key_lives_and_ends_over_http(ready: RunningPlatform) -> None:
    made = admin(ready, "POST", "/v1/keys", {"client": "life"})
    first, path = made["key"], f"/v1/keys/{made['key_id']}"
    assert made["scopes"] == ["post", "read"] and post(ready, first).status_code == 202

    second = admin(ready, "POST", f"{path}/rotate", {"grace_s": 3_600})["key"]
    assert second != first
    await eventually(lambda: _is(post(ready, second).status_code, 202), within_s=5)
    assert post(ready, first).status_code == 202

    assert admin(ready, "POST", f"{path}/revoke")["state"] == "revoked"
    await eventually(lambda: _is(post(ready, first).status_code, 401), within_s=5)
    await eventually(lambda: _is(post(ready, second).status_code, 401), within_s=5)
    again = call(ready, "POST", f"{path}/rotate", ready.token("root", "admin"), json={})
    assert kind(again) == (409, "key-over")
    listed = [one for one in admin(ready, "GET", "/v1/keys?limit=200")["items"] if one["key_id"] == made["key_id"]]
    assert [one["state"] for one in listed] == ["revoked"] and "key" not in listed[0]


async def _is(found: object, wanted: object) -> bool:
    return found == wanted


async def test_keys_are_the_administrators_business(ready: RunningPlatform) -> None:
    for role in ("agent", "supervisor"):
        assert kind(call(ready, "GET", "/v1/keys", ready.token("sue", role))) == (403, "forbidden")
    made = admin(ready, "POST", "/v1/keys", {"client": "own"})
    assert call(ready, "GET", "/v1/keys", made["key"]).status_code == 401
    bad = call(ready, "POST", "/v1/keys", ready.token("root", "admin"), json={"client": "x", "scopes": ["fly"]})
    assert kind(bad) == (422, "invalid-request")


async def test_a_key_does_what_its_scopes_say(ready: RunningPlatform) -> None:
    key = {
        scope: admin(ready, "POST", "/v1/keys", {"client": "scoped", "scopes": scope.split()})["key"]
        for scope in ("post", "read", "post priority")
    }
    contact = post(ready, key["post"], priority=0).json()["id"]

    assert kind(post(ready, key["read"])) == (403, "scope-missing")
    assert kind(call(ready, "GET", f"/v1/contacts/{contact}", key["post"])) == (403, "scope-missing")
    assert call(ready, "GET", f"/v1/contacts/{contact}", key["read"]).status_code == 200
    assert kind(post(ready, key["post"], priority=1)) == (403, "scope-missing")
    assert post(ready, key["post priority"], priority=1_000).json()["priority"] == 1_000
    cancel = {"json": {"reason": "withdrawn"}}
    assert kind(call(ready, "POST", f"/v1/contacts/{contact}/cancel", key["read"], **cancel)) == (403, "scope-missing")


async def test_answers_say_what_is_left_of_the_keys_requests(ready: RunningPlatform) -> None:
    answer = call(ready, "GET", "/v1/contacts", admin(ready, "POST", "/v1/keys", {"client": "rated"})["key"])

    assert answer.headers["ratelimit-policy"].startswith('"requests";q=')
    assert answer.headers["ratelimit"].startswith('"requests";r=')


async def test_the_command_makes_lists_replaces_and_ends_keys(ready: RunningPlatform) -> None:
    home = ready.home.folder
    made = command("keys", "create", "by-hand", "--scopes", "read", "--expires-in-days", "2", home=home)
    key_id = made.stdout.split("_")[1]
    assert call(ready, "GET", "/v1/contacts", made.stdout.strip()).status_code == 200

    replaced = command("keys", "rotate", key_id, "--grace-hours", "0", home=home).stdout.strip()
    await eventually(lambda: _is(call(ready, "GET", "/v1/contacts", made.stdout.strip()).status_code, 401), within_s=5)
    assert call(ready, "GET", "/v1/contacts", replaced).status_code == 200

    assert command("keys", "change", key_id, "--scopes", "post", home=home).returncode == 0
    assert command("keys", "revoke", key_id, home=home).returncode == 0
    rows = {row["key_id"]: row for row in json.loads(command("keys", "list", "--json", home=home).stdout)}
    assert (rows[key_id]["client"], rows[key_id]["scopes"], rows[key_id]["state"]) == ("by-hand", "post", "revoked")
    for words in (["revoke", "nothing"], ["rotate", key_id], ["create", "x", "--scopes", "fly"], ["create", "no name"]):
        refused = command("keys", *words, home=home)
        assert refused.returncode != 0 and "Traceback" not in refused.stderr, words
