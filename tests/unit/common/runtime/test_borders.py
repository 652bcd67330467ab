"""The border of every service: the credential first, then text that can be kept, then JSON of one meaning."""

import codecs
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, Header, Query
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from common.runtime import problems
from common.runtime.borders import BODY_BYTES_MAX, JSON_DEPTH_MAX, WHOLE, YES_OR_NO, Judge, read_json
from common.runtime.http import bearer, make_app
from common.runtime.lifecycle import Running
from common.runtime.problems import ProblemRaised

KNOWN = {"Authorization": "Bearer good"}
NUMBER_MISSING = problems.Problem(name="number-missing", status=400, title="t", way_out="Send it.")


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: str = ""
    size: int = 0
    free: dict[str, Any] = {}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async def ready() -> dict[str, str]:
        return {}

    app = make_app(title="t", description="", running=Running(), ready=ready, missing={"session-no": NUMBER_MISSING})

    @Judge
    async def caller(request: Any) -> str:
        if bearer(request) != "good":
            raise ProblemRaised(problems.UNAUTHENTICATED, "unknown")
        return "somebody"

    @app.post("/notes")
    async def post(note: Note, who: Annotated[str, Depends(caller)]) -> dict[str, Any]:
        return {"who": who, **note.model_dump()}

    @app.get("/notes")
    async def page(
        who: Annotated[str, Depends(caller)],
        limit: Annotated[int, Query(ge=1, le=200), WHOLE] = 50,
        dry: Annotated[bool, Query(), YES_OR_NO] = False,
    ) -> dict[str, Any]:
        return {"limit": limit, "dry": dry}

    @app.get("/notes/{note_id}")
    async def one(
        note_id: str, session_no: Annotated[int, Header(), WHOLE], who: Annotated[str, Depends(caller)]
    ) -> dict[str, Any]:
        return {"note": note_id, "number": session_no}

    @app.put("/notes/{note_id}")
    async def put(note_id: str, who: Annotated[str, Depends(caller)]) -> dict[str, Any]:
        return {"note": note_id}

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://t", headers=KNOWN) as client:
        yield client


def is_refused(answer: httpx.Response, status: int, name: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, problems.MEDIA_TYPE), answer.text
    body = answer.json()
    assert body["type"] == f"urn:porchlight:problem:{name}" and body["way_out"] and body["detail"]


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        {"text": "a\x00b"},
        {"text": "\ud800"},
        {"free": {"deep": [{"a": ["\udfff"]}]}},
        {"free": {"\ud800": 1}},
        {"free": {"a\x00": 1}},
        {"\ud800": 1},
        {"\x00": 1},
    ],
)
async def test_text_that_cannot_be_kept_is_refused_wherever_it_stands(client: httpx.AsyncClient, body: Any) -> None:
    answer = await client.post("/notes", content=json.dumps(body), headers=JSON)

    is_refused(answer, 422, "invalid-request")
    assert answer.json()["errors"][0]["in"] == "body"


@pytest.mark.parametrize(
    "content",
    [
        b'{"text": "a", "text": "b"}',
        b'{"free": {"x": {"y": 1, "y": 1}}}',
        codecs.BOM_UTF8 + b"{}",
        "{}".encode("utf-16"),
        '{"text": "x"}'.encode("utf-16-le"),
        b'{"text": "\xff"}',
        b'{"text": "\xed\xa0\x80"}',
        b'{"size": NaN}',
        b'{"size": -Infinity}',
        b'{"free": {"x": 1e999}}',
        b'{"size": ' + b"9" * 5_000 + b"}",
        b'{"free": ' + b'{"x":' * JSON_DEPTH_MAX + b"1" + b"}" * JSON_DEPTH_MAX + b"}",
        b"[" * 30_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"text": "a\nb"}',
        b"{",
    ],
)
async def test_bytes_that_are_no_json_of_one_meaning_are_refused(client: httpx.AsyncClient, content: bytes) -> None:
    is_refused(await client.post("/notes", content=content, headers=JSON), 400, "malformed-json")


async def test_depth_counts_brackets_and_not_text(client: httpx.AsyncClient) -> None:
    note = {"text": '[{"' * 1_000, "free": {"x": [[]] * 1_000}}

    assert (await client.post("/notes", json=note)).status_code == 200


@pytest.mark.parametrize(("content", "size"), [(b'{"size": 4.0}', 4), (b'{"size": 4e2}', 400), (b'{"size": -0.0}', 0)])
async def test_a_number_without_a_fraction_is_an_integer(client: httpx.AsyncClient, content: bytes, size: int) -> None:
    assert (await client.post("/notes", content=content, headers=JSON)).json()["size"] == size


async def test_a_number_with_a_fraction_is_none(client: httpx.AsyncClient) -> None:
    is_refused(await client.post("/notes", json={"size": 4.5}), 422, "invalid-request")


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("limit=4%0B", "query"),
        ("limit=%204", "query"),
        ("limit=4_0", "query"),
        ("limit=%2B4", "query"),
        ("limit=%D9%A4", "query"),  # an Arabic four
        ("limit=4&limit=5", "query"),
        ("limit=", "query"),
        ("lim%00it=4", "query"),
        ("cursor=x", "query"),
        ("limit=4&x=%ff", "query"),
        ("dry=yes", "query"),
        ("dry=1", "query"),
    ],
)
async def test_a_query_that_says_something_else_is_refused(client: httpx.AsyncClient, query: str, where: str) -> None:
    answer = await client.get(f"/notes?{query}")

    is_refused(answer, 422, "invalid-request")
    assert answer.json()["errors"][0]["in"] == where


async def test_a_query_that_is_in_order_is_read(client: httpx.AsyncClient) -> None:
    assert (await client.get("/notes?limit=4.0&dry=true")).json() == {"limit": 4, "dry": True}
    assert (await client.get("/notes?")).json() == {"limit": 50, "dry": False}


@pytest.mark.parametrize("path", ["/notes/%00", "/notes/a%0Ab", "/notes/%ff", "/notes/%ed%a0%80", "/notes/%C2%85"])
async def test_a_path_that_is_no_text_is_refused(client: httpx.AsyncClient, path: str) -> None:
    is_refused(await client.get(path, headers={"Session-No": "1"}), 422, "invalid-request")


async def test_a_path_with_letters_of_any_language_is_read(client: httpx.AsyncClient) -> None:
    assert (await client.get("/notes/Zo%C3%AB", headers={"Session-No": "1"})).json()["note"] == "Zoë"


async def test_a_header_that_comes_twice_or_has_control_characters_is_refused(client: httpx.AsyncClient) -> None:
    twice = [("Session-No", "1"), ("Session-No", "1")]

    is_refused(await client.get("/notes/x", headers=[*KNOWN.items(), *twice]), 422, "invalid-request")
    is_refused(await client.get("/notes/x", headers={"Session-No": "1", "X-A": "a\x01"}), 422, "invalid-request")
    is_refused(await client.get("/notes/x", headers={"Session-No": " 1"}), 422, "invalid-request")
    is_refused(await client.get("/notes", headers=[*KNOWN.items(), *KNOWN.items()]), 401, "unauthenticated")


async def test_a_header_that_must_be_there_has_its_own_problem_and_is_documented(client: httpx.AsyncClient) -> None:
    is_refused(await client.get("/notes/x"), 400, "number-missing")

    described = (await client.get("/openapi.json")).json()["paths"]["/notes/{note_id}"]["get"]["parameters"]
    assert {one["name"]: one["required"] for one in described} == {"note_id": True, "session-no": True}


@pytest.mark.parametrize("kind", ["text/plain", "application/json; charset=utf-16", "application/jsonx", ""])
async def test_a_body_that_is_no_json_by_its_own_words_is_refused(client: httpx.AsyncClient, kind: str) -> None:
    is_refused(
        await client.post("/notes", content=b"{}", headers={"Content-Type": kind}), 415, "unsupported-media-type"
    )
    is_refused(
        await client.put("/notes/x", content=b"{}", headers={"Content-Type": kind}), 415, "unsupported-media-type"
    )


@pytest.mark.parametrize("kind", ["application/json", 'Application/JSON; charset="UTF-8"'])
async def test_a_body_that_says_that_it_is_json_is_read(client: httpx.AsyncClient, kind: str) -> None:
    assert (await client.post("/notes", content=b"{}", headers={"Content-Type": kind})).status_code == 200


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/notes", {"content": b"{", "headers": JSON}),
        ("/notes", {"content": b'{"text": 1}', "headers": JSON}),
        ("/notes", {"content": b"x" * (BODY_BYTES_MAX + 1), "headers": JSON}),
        ("/notes", {"content": b"x", "headers": {"Content-Type": "text/plain"}}),
        ("/notes?colour=red", {"json": {}}),
    ],
)
@pytest.mark.parametrize("credential", ["", "Bearer bad", "Basic good"])
async def test_the_credential_is_judged_before_anything_else(
    client: httpx.AsyncClient, path: str, options: dict[str, Any], credential: str
) -> None:
    headers = {**options.get("headers", {}), "Authorization": credential}

    is_refused(await client.post(path, **{**options, "headers": headers}), 401, "unauthenticated")
    is_refused(await client.get("/notes/%00", headers={"Authorization": credential}), 401, "unauthenticated")


async def test_the_body_of_a_stranger_is_not_read(client: httpx.AsyncClient) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(10):
            read += 1
            yield b"x" * 100

    answer = await client.post("/notes", content=body(), headers={"Authorization": "Bearer bad", **JSON})

    is_refused(answer, 401, "unauthenticated")
    assert read == 0


async def test_a_method_that_does_not_work_is_told_all_that_do(client: httpx.AsyncClient) -> None:
    for path, methods in (("/notes", "GET, POST"), ("/notes/x", "GET, PUT")):
        answer = await client.delete(path)

        is_refused(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == methods


async def test_a_refusal_can_always_be_written() -> None:
    answer = problems.answer(problems.INVALID_REQUEST, "half of a pair: \ud800, and a whole one: \U0001f600")

    assert json.loads(answer.body)["detail"] == "half of a pair: \ud800, and a whole one: \U0001f600"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=VALUES, escape=st.booleans())
def test_what_is_read_is_what_was_written_or_refused(value: Any, escape: bool) -> None:
    try:
        body = json.dumps(value, ensure_ascii=escape).encode()
    except UnicodeEncodeError:
        return
    try:
        assert read_json(body) == value
    except ProblemRaised:
        assert "\\u0000" in json.dumps(value) or "\\ud" in json.dumps(value)


async def test_a_caller_who_leaves_in_the_middle_of_a_body_is_no_mistake_of_ours(client: httpx.AsyncClient) -> None:
    app = client._transport.app  # type: ignore[attr-defined] # of the fixture
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/notes",
        "raw_path": b"/notes",
        "query_string": b"",
        "headers": [
            (b"authorization", b"Bearer good"),
            (b"content-type", b"application/json"),
            (b"content-length", b"9"),
        ],
    }

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)

    assert sent[0]["status"] == 408
