"""The start page shows where to look; figures are for who may see them."""

from typing import Any, cast

import httpx
import pytest

from common.runtime.auth import Principal, Refused, TokenVerifier
from common.runtime.http import make_app
from common.runtime.lifecycle import Running
from common.testing.clock import ManualClock
from reporting.api import add_routes
from reporting.ports import Figures


class OneQueue:
    """Figures of one queue, and whether anybody asked for them."""

    asked = 0

    async def by_queue(self, **_: Any) -> tuple[list[dict[str, Any]], int]:
        self.asked += 1
        names = ("offered", "answered", "abandoned", "waiting", "with_agents", "scheduled")
        return [{"queue_id": "secret-<queue>", **dict.fromkeys(names, 7)}], 1_000


class Names:
    """A verifier that takes a role for a token."""

    def verify(self, token: str, *, now_s: int) -> Principal | Refused:
        if token not in ("agent", "supervisor", "admin"):
            return Refused("malformed")
        return Principal(subject="sue", role=token, expires_at_s=now_s + 1)  # type: ignore[arg-type]


async def get(figures: OneQueue, token: str = "") -> httpx.Response:
    async def ready() -> dict[str, str]:
        return {}

    app = make_app(title="t", description="", running=Running(), ready=ready)
    links = [("intake API", "http://127.0.0.1:8081/docs")]
    verifier = cast(TokenVerifier, Names())
    add_routes(app, figures=cast(Figures, figures), verifier=verifier, clock=ManualClock(1), links=links)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http:
        return await http.get("/", headers=headers)


async def test_without_a_credential_there_are_links_and_no_figures() -> None:
    figures = OneQueue()

    page = await get(figures)

    assert page.status_code == 200 and "http://127.0.0.1:8081/docs" in page.text
    assert "secret" not in page.text and figures.asked == 0
    assert "<script" not in page.text and "script-src" not in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(("token", "status"), [("forged", 401), ("agent", 403), ("supervisor", 200), ("admin", 200)])
async def test_figures_are_for_supervisors_and_administrators(token: str, status: int) -> None:
    page = await get(OneQueue(), token)

    assert page.status_code == status
    assert ("secret-&lt;queue&gt;" in page.text) is (status == 200)
