"""What browsers are told, and who may see figures."""

import httpx
import pytest
from pydantic import TypeAdapter, ValidationError

from common.runtime.http import make_app
from common.runtime.lifecycle import Running
from common.runtime.settings import ServiceSettings

DESK = "https://desk.example.org"


async def ask(
    method: str,
    path: str,
    *,
    origins: tuple[str, ...] = (),
    client: str = "127.0.0.1",
    metrics_open: bool = False,
    **headers: str,
) -> httpx.Response:
    async def ready() -> dict[str, str]:
        return {}

    app = make_app(
        title="t", description="", running=Running(), ready=ready, origins=origins, metrics_open=metrics_open
    )

    @app.get("/v1/inbox")
    async def inbox() -> dict[str, str]:
        return {}

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    transport = httpx.ASGITransport(app, client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as http:
        return await http.request(method, path, headers={name.replace("_", "-"): one for name, one in headers.items()})


@pytest.mark.parametrize(
    "path", ["/v1/inbox", "/nowhere", "/broken", "/docs", "/docs/static/swagger-ui.css", "/healthz"]
)
async def test_every_answer_tells_browsers_what_they_may(path: str) -> None:
    answer = await ask("GET", path)

    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
    assert "script-src" not in policy or "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]


async def test_the_api_page_has_no_script_of_its_own_and_all_that_it_loads_is_there() -> None:
    page = await ask("GET", "/docs")

    assert page.text.count("<script") == page.text.count("<script src=") == 2
    for part in page.text.split('src="')[1:] + page.text.split('href="')[1:]:
        assert (await ask("GET", part.split('"')[0])).status_code == 200, part


async def test_a_desktop_of_a_named_origin_may_ask_with_its_headers_and_read_ours() -> None:
    preflight = await ask(
        "OPTIONS",
        "/v1/inbox",
        origins=(DESK,),
        Origin=DESK,
        Access_Control_Request_Method="GET",
        Access_Control_Request_Headers="authorization,session-no,prefer,if-none-match",
    )
    answer = await ask("GET", "/v1/inbox", origins=(DESK,), Origin=DESK)

    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (200, DESK)
    assert "session-no" in preflight.headers["Access-Control-Allow-Headers"].lower()
    assert answer.headers["Access-Control-Allow-Origin"] == DESK
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers, "tokens travel in headers, never in cookies"


@pytest.mark.parametrize("origins", [(), (DESK,)])
async def test_other_origins_may_not(origins: tuple[str, ...]) -> None:
    elsewhere = "https://elsewhere.example"
    preflight = await ask(
        "OPTIONS", "/v1/inbox", origins=origins, Origin=elsewhere, Access_Control_Request_Method="GET"
    )
    answer = await ask("GET", "/v1/inbox", origins=origins, Origin=elsewhere)

    assert preflight.status_code >= 400
    assert "Access-Control-Allow-Origin" not in preflight.headers
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "bad", ["*", "https://a.example/path", "desk.example.org", "https://a.example, https://b.example"]
)
def test_origins_are_named_in_full(bad: str) -> None:
    field = ServiceSettings.model_fields["cors_origins"]
    kind = TypeAdapter(field.rebuild_annotation())

    with pytest.raises(ValidationError):
        kind.validate_python(bad)
    assert kind.validate_python("https://a.example:8443,http://localhost:3000")


@pytest.mark.parametrize(
    ("client", "is_open", "status"),
    [("127.0.0.1", False, 200), ("::1", False, 200), ("10.0.0.7", False, 403), ("10.0.0.7", True, 200)],
)
async def test_metrics_are_for_this_machine_or_for_whom_the_setting_lets_in(
    client: str, is_open: bool, status: int
) -> None:
    assert (await ask("GET", "/metrics", client=client, metrics_open=is_open)).status_code == status
