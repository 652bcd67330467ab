"""HTTP clients of the public APIs: a channel integration, an agent's desktop, an administrator.

They write a journal line before each send and after each answer, so that what they were promised can be checked.
"""

import asyncio
import json as json_text
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from common.runtime.clock import new_id

RETRIES_MAX = 60
"""Tries of one request while the platform is away; with the back-off below that is about half a minute."""
BACK_OFF_S = 0.5
LONG_POLL_S = 25
AWAY = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)


class Journal:
    """A file of JSON lines: what a client did and what it was answered. Each line reaches the file at once."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else path.open("a", buffering=1)

    def note(self, what: str, **fields: Any) -> None:
        """One line, with the wall clock in milliseconds."""
        if self._file is not None:
            self._file.write(json_text.dumps({"what": what, "at_ms": time.time_ns() // 1_000_000, **fields}) + "\n")

    def close(self) -> None:
        """No more lines."""
        if self._file is not None:
            self._file.close()


class GaveUp(Exception):
    """The platform did not come back in time."""


class Refused(Exception):
    """The platform said no: `problem` is its answer."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('type', '')}: {problem.get('detail', '')}")
        self.status = status
        self.problem = problem

    @property
    def kind(self) -> str:
        """For example `offer-over`."""
        return str(self.problem.get("type", "")).rpartition(":")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, read to its end."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The body as JSON; an empty body is an empty object."""
        return json_text.loads(self.content) if self.content else {}


@dataclass(slots=True)
class Caller:
    """Sends requests to any of several instances, again to the next one when one is away."""

    urls: list[str]
    credential: str
    http: aiohttp.ClientSession
    turn: int = 0
    unavailable: int = 0
    """Answers 503 so far."""

    async def send(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = 10.0,
    ) -> Answer:
        """The answer, whatever its status but 503. Raises `GaveUp`."""
        for number in range(RETRIES_MAX):
            url = self.urls[self.turn % len(self.urls)]
            try:
                async with self.http.request(
                    method,
                    url + path,
                    json=json,
                    headers={"Authorization": f"Bearer {self.credential}", **(headers or {})},
                    timeout=aiohttp.ClientTimeout(total=timeout_s),
                ) as answer:
                    content = await answer.read()
                if answer.status != 503:
                    return Answer(status_code=answer.status, headers=answer.headers, content=content)
                self.unavailable += 1
            except AWAY:
                pass  # another instance, or the same one when it is back
            self.turn += 1
            await asyncio.sleep(min(BACK_OFF_S, 0.05 * (number + 1)))
        raise GaveUp(f"{method} {path} got no answer from {self.urls}")


def expect(answer: Answer, *statuses: int) -> dict[str, Any]:
    """The JSON of an answer with one of the statuses. Raises `Refused`."""
    if answer.status_code not in statuses:
        raise Refused(answer.status_code, answer.json())
    return dict(answer.json())


class Integration:
    """A channel integration: posts contacts, cancels them, reads their state."""

    def __init__(self, caller: Caller, journal: Journal) -> None:
        self._caller = caller
        self._journal = journal

    async def post(self, body: dict[str, Any], *, key: str | None = None) -> dict[str, Any]:
        """Post a contact; the same key again is the same contact."""
        key = key or new_id()
        self._journal.note("post", key=key, queue=body["queue"])
        answer = await self._caller.send("POST", "/v1/contacts", json=body, headers={"Idempotency-Key": key})
        if answer.status_code != 202:
            self._journal.note("post_refused", key=key, status=answer.status_code)
            raise Refused(answer.status_code, answer.json())
        accepted = dict(answer.json())
        self._journal.note("posted", key=key, contact_id=accepted["id"], queue=accepted["queue"])
        return accepted

    async def cancel(self, contact_id: str, reason: str = "customer_gave_up") -> bool:
        """Say that the customer gave up; False when the contact was over already."""
        self._journal.note("cancel", contact_id=contact_id, reason=reason)
        answer = await self._caller.send("POST", f"/v1/contacts/{contact_id}/cancel", json={"reason": reason})
        self._journal.note("cancelled", contact_id=contact_id, status=answer.status_code)
        if answer.status_code == 409:
            return False
        expect(answer, 202)
        return True

    async def call_back(self, contact_id: str, *, not_before: str | None = None) -> None:
        """The customer would rather be called back, now or at a time (ISO 8601). Raises `Refused`."""
        body = {} if not_before is None else {"not_before": not_before}
        expect(await self._caller.send("POST", f"/v1/contacts/{contact_id}/callback", json=body), 202)

    async def get(self, contact_id: str) -> dict[str, Any]:
        """One contact."""
        return expect(await self._caller.send("GET", f"/v1/contacts/{contact_id}"), 200)


class Desktop:
    """An agent's desktop: signs in, polls the inbox, answers offers."""

    def __init__(self, name: str, caller: Caller, journal: Journal) -> None:
        self.name = name
        self._caller = caller
        self._journal = journal
        self.session_no = 0
        self._etag = ""

    @property
    def unavailable(self) -> int:
        """Answers 503 so far; each was asked again."""
        return self._caller.unavailable

    async def sign_in(self, presence: str = "available") -> None:
        """Begin a session."""
        self._journal.note("sign_in", agent_id=self.name)
        answer = expect(await self._caller.send("POST", "/v1/session", json={"presence": presence}), 201)
        self.session_no, self._etag = answer["session_no"], ""
        self._journal.note("signed_in", agent_id=self.name, session_no=self.session_no)

    async def sign_out(self) -> None:
        """End the session; one that is over already is no trouble."""
        self._journal.note("sign_out", agent_id=self.name, session_no=self.session_no)
        await self._caller.send("DELETE", "/v1/session", headers=self._headers())

    async def set_presence(self, presence: str) -> None:
        """Say what the person does."""
        expect(
            await self._caller.send("PUT", "/v1/presence", json={"presence": presence}, headers=self._headers()), 200
        )

    async def inbox(self, *, wait_s: int = LONG_POLL_S) -> dict[str, Any] | None:
        """The inbox when it differs from the last one seen, else None after `wait_s`. Raises `Refused`."""
        headers = self._headers()
        if self._etag:
            headers |= {"If-None-Match": self._etag, "Prefer": f"wait={wait_s}"}
        answer = await self._caller.send("GET", "/v1/inbox", headers=headers, timeout_s=wait_s + 10)
        if answer.status_code == 304:
            return None
        inbox = expect(answer, 200)
        self._etag = answer.headers["ETag"]
        for offer in inbox["offers"]:
            self._journal.note(
                "offer_seen", agent_id=self.name, contact_id=offer["contact_id"], attempt=offer["attempt"]
            )
        return inbox

    async def accept(self, offer: dict[str, Any]) -> None:
        """Take an offer. Raises `Refused` when it is over."""
        await self._command("accept", f"/v1/offers/{offer['contact_id']}/accept", offer)

    async def decline(self, offer: dict[str, Any]) -> None:
        """Leave an offer to somebody else."""
        await self._command("decline", f"/v1/offers/{offer['contact_id']}/decline", offer)

    async def complete(self, contact: dict[str, Any]) -> None:
        """The conversation is over."""
        await self._command("complete", f"/v1/contacts/{contact['contact_id']}/complete", contact)

    async def end_wrap_up(self, contact: dict[str, Any]) -> None:
        """The work after it is over too."""
        await self._command("end_wrap_up", f"/v1/contacts/{contact['contact_id']}/wrap-up/end", contact)

    async def pause(self, contact: dict[str, Any]) -> None:
        """Have the capacity for others meanwhile."""
        await self._command("pause", f"/v1/contacts/{contact['contact_id']}/pause", contact)

    async def resume(self, contact: dict[str, Any]) -> None:
        """Go on with a paused contact. Raises `Refused` when there is no capacity."""
        await self._command("resume", f"/v1/contacts/{contact['contact_id']}/resume", contact)

    async def transfer(self, contact: dict[str, Any], **target: Any) -> None:
        """Pass a contact on: `to_queue`, `to_agent` or `need`. Raises `Refused`."""
        await self._command("transfer", f"/v1/contacts/{contact['contact_id']}/transfer", contact, target)

    async def set_link(self, score: int) -> None:
        """Say how good the line is."""
        expect(await self._caller.send("PUT", "/v1/link", json={"score": score}, headers=self._headers()), 200)

    async def _command(self, verb: str, path: str, about: dict[str, Any], more: dict[str, Any] | None = None) -> None:
        command_id = new_id()
        what = {
            "agent_id": self.name,
            "verb": verb,
            "contact_id": about["contact_id"],
            "attempt": about["attempt"],
            "command_id": command_id,
        }
        self._journal.note("command", **what)
        body = {"attempt": about["attempt"], "command_id": command_id, **(more or {})}
        for _ in range(RETRIES_MAX):
            answer = await self._caller.send("POST", path, json=body, headers=self._headers(), timeout_s=15)
            if answer.status_code != 202:
                break  # 202: the router's answer takes longer; the same command again learns it
        self._journal.note("command_answered", **what, status=answer.status_code)
        expect(answer, 200)

    def _headers(self) -> dict[str, str]:
        return {"Session-No": str(self.session_no)}


class Administrator:
    """Defines skills, queues and agents, and reads figures."""

    def __init__(self, router: Caller, presence: Caller, reporting: Caller) -> None:
        self._router = router
        self._presence = presence
        self._reporting = reporting

    async def put_skill(self, skill: str) -> None:
        """Define a skill."""
        expect(await self._presence.send("PUT", f"/v1/skills/{skill}"), 200)

    async def put_queue(self, queue: str, policy: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Define or change a queue; with `dry_run` only ask whether that would be taken. Raises `Refused`."""
        path = f"/v1/queues/{queue}{'?dry_run=true' if dry_run else ''}"
        return expect(await self._router.send("PUT", path, json=policy), 200)

    async def put_agent(self, agent: str, profile: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Define or change an agent; with `dry_run` only ask whether that would be taken. Raises `Refused`."""
        path = f"/v1/agents/{quote(agent, safe='')}{'?dry_run=true' if dry_run else ''}"
        return expect(await self._presence.send("PUT", path, json=profile), 200)

    async def skills(self) -> list[str]:
        """Every skill."""
        answer = await self._presence.send("GET", "/v1/skills")
        if answer.status_code != 200:
            raise Refused(answer.status_code, answer.json())
        return [one["skill"] for one in answer.json()]

    async def queues(self) -> dict[str, dict[str, Any]]:
        """Every queue by its id."""
        found: dict[str, dict[str, Any]] = {}
        cursor: str | None = ""
        while cursor is not None:
            page = expect(await self._router.send("GET", f"/v1/queues?limit=200&cursor={cursor}"), 200)
            found.update({one["id"]: one for one in page["items"]})
            cursor = page["next"]
        return found

    async def agent(self, agent: str) -> dict[str, Any] | None:
        """An agent; None when there is none of that name."""
        answer = await self._presence.send("GET", f"/v1/agents/{quote(agent, safe='')}")
        return None if answer.status_code == 404 else expect(answer, 200)

    async def sign_out(self, agent: str) -> None:
        """End the agent's session."""
        expect(await self._presence.send("DELETE", f"/v1/agents/{quote(agent, safe='')}/session"), 200)

    async def put_limits(self, agent: str, limits: dict[str, Any]) -> None:
        """Say where the agent's time ends."""
        expect(await self._presence.send("PUT", f"/v1/agents/{quote(agent, safe='')}/limits", json=limits), 200)

    async def wait(self, contact_id: str) -> dict[str, Any]:
        """A contact's position and wait. Raises `Refused`."""
        return expect(await self._router.send("GET", f"/v1/contacts/{contact_id}/wait"), 200)

    async def trace(self, contact_id: str) -> dict[str, Any]:
        """Why a contact is where it is. Raises `Refused`."""
        return expect(await self._router.send("GET", f"/v1/contacts/{contact_id}/routing-trace"), 200)

    async def queue(self, queue: str) -> dict[str, Any]:
        """A queue and its live contacts by state."""
        return expect(await self._router.send("GET", f"/v1/queues/{queue}"), 200)

    async def summary(self, queue: str, *, start: str, end: str) -> dict[str, Any]:
        """Figures of a queue. `start` and `end`: RFC 3339 in UTC, with Z."""
        return expect(await self._reporting.send("GET", f"/v1/queues/{queue}/summary?from={start}&to={end}"), 200)

    async def journey(self, contact_id: str) -> dict[str, Any]:
        """What happened to a contact. Raises `Refused` (404) until reporting has heard of it."""
        return expect(await self._reporting.send("GET", f"/v1/contacts/{contact_id}/journey"), 200)


class Clients:
    """Makes clients of one platform."""

    def __init__(
        self,
        *,
        urls: dict[str, list[str]],
        api_key: str,
        token: Callable[[str, str], str],
        journal: Journal | None = None,
    ) -> None:
        self._urls = urls
        self._api_key = api_key
        self._token = token
        self.journal = journal or Journal(None)
        self._open: list[aiohttp.ClientSession] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for http in self._open:
            await http.close()
        self.journal.close()

    def integration(self) -> Integration:
        """With the API key."""
        return Integration(Caller(list(self._urls["intake"]), self._api_key, self._http()), self.journal)

    def desktop(self, agent: str) -> Desktop:
        """With a token of the agent's; desktops spread over the instances."""
        urls = list(self._urls["presence"])
        turn = sum(agent.encode()) % len(urls)
        return Desktop(agent, Caller(urls, self._token(agent, "agent"), self._http(), turn), self.journal)

    def administrator(self) -> Administrator:
        """With an administrator's token."""
        token = self._token("porchlight-tools", "admin")
        return Administrator(
            *(Caller(list(self._urls[name]), token, self._http()) for name in ("router", "presence", "reporting"))
        )

    def _http(self) -> aiohttp.ClientSession:
        """A session for each client, as each would be a program of its own."""
        http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._open.append(http)
        return http
