"""A need that nobody can meet, or that could hurt the router, is refused at every border where one can come in."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from common.runtime.clock import new_id
from porchlight.clients.apply import apply, changes, read, wait_until_known
from porchlight.installation import Trouble
from porchlight.jobs.keys import create_api_key
from porchlight.simulate.scenario_files import read_scenario
from tests.support.platforms import RunningPlatform

SET_UP = {
    "skills": ["bordering"],
    "queues": {"borders": {"pool": "borders"}},
    "agents": {"bor-ann": {"pool": "borders", "skills": {"bordering": 50}}},
}


def deep(levels: int) -> str:
    return '{"all":[' * levels + '{"skill":"bordering"}' + "]}" * levels


BAD = [
    deep(9),
    deep(345),
    deep(2_000),
    deep(6_000),
    '{"language":"\\u0000"}',
    '{"language":"\\ud800"}',
    '{"language":"' + "e" * 65 + '"}',
    '{"any":[' + ",".join(['{"skill":"bordering"}'] * 65) + "]}",
    '{"skill":"bordering","min_level":90,"max_level":10}',
    '{"skill":"bordering","min_level":-5}',
    '{"skill":"bordering","max_level":1' + "0" * 30 + "}",
    '{"all":[{"region":"a"},{"region":"b"}]}',
    '{"attribute":"team"}',
    '{"skill":"never-defined"}',
]


JSON_LEVELS_MAX = 32


class Border:
    """The ways in."""

    def __init__(self, platform: RunningPlatform, key: str) -> None:
        self._platform, self._key = platform, key

    def post(self, need: str) -> httpx.Response:
        body = f'{{"queue":"borders","channel":"voice","routing":{{"need":{need}}}}}'
        return self._send("POST", f"{self._platform.running.intake[0]}/v1/contacts", body, self._key)

    def transfer(self, need: str) -> httpx.Response:
        body = f'{{"attempt":1,"command_id":"transfer-1","need":{need}}}'
        place = f"{self._platform.running.presence[0]}/v1/contacts/00000000-0000-7000-8000-000000000000/transfer"
        return self._send("POST", place, body, self._platform.token("bor-ann", "agent"))

    def queue(self, need: str) -> httpx.Response:
        body = f'{{"pool":"borders","policy":{{"steps":[{{"need":{need},"expires_ms":1000}}]}}}}'
        place = f"{self._platform.running.router[0]}/v1/queues/borders"
        return self._send("PUT", place, body, self._platform.token("boss", "admin"))

    def _send(self, method: str, url: str, body: str, credential: str) -> httpx.Response:
        headers = {
            "Authorization": f"Bearer {credential}",
            "Content-Type": "application/json",
            "Idempotency-Key": new_id(),
            "Session-No": "1",
        }
        return httpx.request(method, url, content=body.encode(), headers=headers, timeout=15)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def border(platform: RunningPlatform) -> Border:
    async with platform.clients() as clients:
        await apply(clients.administrator(), SET_UP)
        body = {"queue": "borders", "channel": "voice", "requirements": [{"skill": "bordering"}]}
        warm = await wait_until_known(clients.integration(), body)
        await clients.integration().cancel(warm["id"], "withdrawn")
    key = await create_api_key(platform.home, client="borders", owner_dsn=platform.running.owner_dsns["intake"])
    return Border(platform, key)


def is_no_json_of_ours(need: str) -> bool:
    """Whether it is nested so deep that the body is refused before anybody asks what it means."""
    return need.count("[{") > JSON_LEVELS_MAX


@pytest.mark.parametrize("need", BAD, ids=lambda need: need[:40] + str(len(need)))
@pytest.mark.parametrize("way", ["post", "transfer", "queue"])
def test_a_need_that_cannot_be_is_a_problem_with_a_way_out(border: Border, way: str, need: str) -> None:
    answer = getattr(border, way)(need)

    assert answer.status_code == (400 if is_no_json_of_ours(need) else 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.json()["way_out"]) > 20


def test_requirements_and_need_of_a_post_that_contradict_each_other_are_refused(border: Border) -> None:
    body = {"queue": "borders", "channel": "voice", "requirements": [{"skill": "bordering", "min_level": 60}]}
    contradicts: dict[str, Any] = {**body, "routing": {"need": {"skill": "bordering", "max_level": 40}}}
    place = f"{border._platform.running.intake[0]}/v1/contacts"

    answer = border._send("POST", place, json.dumps(contradicts), border._key)

    assert answer.status_code == 422 and "contradict" in answer.text


def test_a_good_need_passes_every_border(border: Border) -> None:
    need = '{"skill":"bordering","min_level":40,"not":{"region":"US-TX"}}'

    assert border.post(need).status_code == 202
    assert border.queue(need).status_code == 200
    assert border.transfer(need).json()["type"].rpartition(":")[2] == "session-over"  # the need is not what is wrong


@pytest.mark.parametrize(
    "need", [one for one in BAD if "ud800" not in one], ids=lambda need: need[:40] + str(len(need))
)
async def test_a_set_up_file_and_a_scenario_are_refused_with_the_reason(
    platform: RunningPlatform, border: Border, tmp_path: Path, need: str
) -> None:
    assert border is not None
    set_up, scenario = tmp_path / "set-up.yaml", tmp_path / "scenario.yaml"
    set_up.write_text(f"{{queues: {{borders: {{pool: borders, policy: {{need: {need}}}}}}}}}")
    scenario.write_text(
        "{horizon: 3600, queues: {q: {}}, agents: [{name: a, count: 1}],"
        f" arrivals: [{{name: s, queue: q, channel: voice, need: {need}, rate: 1, handle: {{exponential: 1}}}}]}}"
    )

    with pytest.raises(Trouble):
        async with platform.clients() as clients:
            await changes(clients.administrator(), read(set_up))
    if "never-defined" not in need:
        with pytest.raises(Trouble, match=r"need|deep|unacceptable|special"):
            read_scenario(scenario)
