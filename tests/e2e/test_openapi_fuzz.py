"""Every operation of the four documents under many bodies, headers and parameters, right ones and wrong ones: no answer is a
server's error, and each is one that the document names, of the shape that it says.

Budget: `EXAMPLES_MAX` drawn cases an operation besides the document's own examples. They are drawn alike each time: what was green
stays so until code or documents change.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from porchlight.clients.apply import apply, wait_until_known
from porchlight.jobs.keys import create_api_key
from tests.support.platforms import RunningPlatform, started

pytestmark = pytest.mark.timeout(300)
DOCUMENTS = Path(__file__).parents[2] / "docs" / "openapi"
EXAMPLES_MAX = 12
LOOSE = {"AGENT_PRESENCE_SIGN_INS_PER_MIN": "100000", "AGENT_PRESENCE_CHANGES_PER_S": "100000"}
"""One agent asks as fast as a thousand do."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


class Fuzzed:
    """A platform of its own, and who asks: the credential that may most, and names that exist."""

    def __init__(self, platform: RunningPlatform, key: str, contact_id: str) -> None:
        running = platform.running
        self.urls = {"intake": running.intake[0], "router": running.router[0], "reporting": running.reporting[0]}
        self.urls["agent-presence"] = running.presence[0]
        self.names = {"contact_id": contact_id, "queue_id": "fuzz", "agent_id": "fuzz-agent", "skill": "fuzz-skill"}
        self._key = key
        self._admin = platform.token("fuzz-admin", "admin")
        self._agent = platform.token("fuzz-agent", "agent")
        self._session_no = 0

    def headers(self, service: str, case: schemathesis.Case) -> dict[str, str]:
        """Who may do this: admins what is administered, the agent what needs a session, the key what integrations do."""
        takes = {name.lower() for name in (case.headers or {})}
        if service == "intake" and "session-no" not in takes and not case.path.startswith("/v1/keys"):
            return {"Authorization": f"Bearer {self._key}"}
        if "session-no" in takes or (case.path, case.method) == ("/v1/session", "POST"):
            return {"Authorization": f"Bearer {self._agent}"}
        return {"Authorization": f"Bearer {self._admin}"}

    def session_no(self) -> str:
        """Of the agent's present session, which a case before may have ended."""
        url, headers = self.urls["agent-presence"], {"Authorization": f"Bearer {self._agent}"}
        probe = {**headers, "Session-No": str(self._session_no)}
        if self._session_no == 0 or httpx.put(f"{url}/v1/link", headers=probe, json={"score": 90}).status_code != 200:
            answer = httpx.post(f"{url}/v1/session", headers=headers, json={"presence": "available"}, timeout=20)
            self._session_no = int(answer.json()["session_no"])
        return str(self._session_no)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    async def prepare(platform: RunningPlatform) -> tuple[str, str]:
        async with platform.clients(client="fuzz") as clients:
            await apply(
                clients.administrator(),
                {
                    "skills": ["fuzz-skill"],
                    "queues": {"fuzz": {"pool": "fuzz"}},
                    "agents": {"fuzz-agent": {"pool": "fuzz"}},
                },
            )
            contact = await wait_until_known(clients.integration(), {"queue": "fuzz", "channel": "email"})
        return await new_key(platform), str(contact["id"])

    with started(tmp_path_factory.mktemp("fuzzed"), environment=LOOSE, router=1) as platform:
        yield Fuzzed(platform, *asyncio.run(prepare(platform)))


async def new_key(platform: RunningPlatform) -> str:
    return await create_api_key(platform.home, client="fuzz", owner_dsn=platform.running.owner_dsns["intake"])


def of(service: str) -> Callable[..., None]:
    """A test of every operation of the service's document."""

    document = schemathesis.openapi.from_path(DOCUMENTS / f"{service}.json")
    document.config.phases.coverage.enabled = False  # it draws a hundred cases an operation: more than the budget

    @document.parametrize()
    @settings(
        max_examples=EXAMPLES_MAX,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def test(case: schemathesis.Case, fuzzed: Fuzzed) -> None:
        for names in ({}, fuzzed.names):
            case.path_parameters.update({name: names[name] for name in case.path_parameters if name in names})
            headers = fuzzed.headers(service, case)
            if names and "Session-No" in (case.headers or {}):
                headers["Session-No"] = fuzzed.session_no()
            answer = case.call(base_url=fuzzed.urls[service], headers=headers, timeout=40)
            case.validate_response(answer, checks=CHECKS)

    return test


test_intake = of("intake")
test_router = of("router")
test_agent_presence = of("agent-presence")
test_reporting = of("reporting")
