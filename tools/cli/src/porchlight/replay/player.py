"""`porchlight replay`: a recorded day through the public APIs, with customers who hang up and a crew who answers."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from porchlight.clients.apply import apply, wait_until_known
from porchlight.clients.http import Administrator, Clients, Desktop, Integration, Refused
from porchlight.files.names import id_of
from porchlight.replay.call_log import Call, Day, Shift

POOL = "calls"
IN_TIME_S = 20
"""The service level's threshold in recorded seconds."""
LEAD_S = 1.0
"""Real seconds between the sign-in of the first crew and the first call."""
DRAIN_MAX_S = 60.0
"""Real seconds after the last call in which the crew still answers; then whoever waits hangs up."""
SETTLE_MAX_S = 60.0
"""Real seconds in which reporting and intake must know of every end."""
CLOCKS_S = 0.002
"""Times are whole milliseconds of two services' clocks on one machine: so far a wait may be off either way."""
UNKNOWN_CONTACT_S = 2.0
"""How long an agent waits for the POST's answer of a contact that it was offered already."""

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Tally:
    """What the clients saw. Times in seconds of the monotonic clock.

    `posted` and `accepting`: when the request was sent; `promised` and `answered`: when its answer was there.
    """

    posted: dict[str, float] = field(default_factory=dict)
    promised: dict[str, float] = field(default_factory=dict)
    first_offer: dict[str, float] = field(default_factory=dict)
    accepting: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    completed: dict[str, float] = field(default_factory=dict)
    gave_up: set[str] = field(default_factory=set)
    refused: dict[str, int] = field(default_factory=dict)
    queue_of: dict[str, str] = field(default_factory=dict)


class Replay:
    """One run. `speed`: recorded seconds a real second."""

    def __init__(self, clients: Clients, day: Day, *, speed: float, progress: Progress) -> None:
        self._clients = clients
        self._integration: Integration = clients.integration()
        self._day = day
        self._speed = speed
        self._progress = progress
        self.tally = Tally()
        self._calls: dict[str, Call] = {}
        self._known: dict[str, asyncio.Event] = {}
        self._began = 0.0
        self._begin_s = day.calls[0].arrival_s
        self._done = 0
        self._closing = asyncio.Event()

    async def run(self) -> dict[str, Any]:
        """Play the day and let everything settle; returns the figures of clients and of reporting."""
        administrator = self._clients.administrator()
        await apply(administrator, self._wanted())
        warm = await wait_until_known(
            self._integration, {"queue": self._queue(self._day.types[-1]), "channel": "email"}
        )
        await self._integration.cancel(warm["id"], "withdrawn")
        start = datetime.now(UTC)
        self._began = time.monotonic() + LEAD_S
        async with asyncio.TaskGroup() as crew:
            for shift in self._day.shifts:
                crew.create_task(self._work(shift))
            async with asyncio.TaskGroup() as customers:
                for call in self._day.calls:
                    customers.create_task(self._call(call))
            await self._drain()
            self._closing.set()
        await self._settle()
        end = datetime.now(UTC)
        theirs = await self._reported(administrator, start, end)
        return {"clients": self._figures(), "reporting": theirs, "seconds": time.monotonic() - self._began}

    def _wanted(self) -> dict[str, Any]:
        agents = {
            f"crew-{shift.agent}": {"pool": POOL, "skills": {self._skill(t): 100 for t in shift.types}}
            for shift in self._day.shifts
        }
        queues = {
            self._queue(t): {
                "pool": POOL,
                "requirements": [{"skill": self._skill(t)}],
                "service_level_ms": self._threshold_ms(),
            }
            for t in self._day.types
        }
        return {"skills": [self._skill(t) for t in self._day.types], "queues": queues, "agents": agents}

    def _threshold_ms(self) -> int:
        return max(1, round(IN_TIME_S * 1000 / self._speed))

    def _queue(self, kind: str) -> str:
        return f"calls-{id_of(kind)}"

    def _skill(self, kind: str) -> str:
        return f"call-{id_of(kind)}"

    async def _until(self, recorded_s: float) -> None:
        await asyncio.sleep(max(0.0, self._began + (recorded_s - self._begin_s) / self._speed - time.monotonic()))

    async def _call(self, call: Call) -> None:
        """A customer: calls, and hangs up when the real one did, unless somebody answered."""
        await self._until(call.arrival_s)
        queue = self._queue(call.type)
        sent = time.monotonic()
        contact = await self._integration.post(
            {"queue": queue, "channel": "voice", "priority": call.priority, "external_id": call.call_id}
        )
        contact_id = contact["id"]
        self.tally.posted[contact_id] = sent
        self.tally.promised[contact_id] = time.monotonic()
        self.tally.queue_of[contact_id] = queue
        self._calls[contact_id] = call
        event = self._known.pop(contact_id, None)
        if event is not None:
            event.set()
        if call.patience_s is not None:
            await asyncio.sleep(max(0.0, sent + call.patience_s / self._speed - time.monotonic()))
            await self._hang_up(contact_id)
        self._done += 1
        self._progress(self._done, len(self._day.calls))

    async def _hang_up(self, contact_id: str) -> None:
        if contact_id not in self.tally.answered and await self._integration.cancel(contact_id):
            self.tally.gave_up.add(contact_id)

    async def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_MAX_S
        while time.monotonic() < deadline and self._open():
            await asyncio.sleep(0.05)
        for contact_id in self._open():
            if contact_id not in self.tally.answered:
                await self._hang_up(contact_id)
        deadline = time.monotonic() + DRAIN_MAX_S
        while time.monotonic() < deadline and self._open():
            await asyncio.sleep(0.05)

    def _open(self) -> list[str]:
        tally = self.tally
        return [
            one
            for one in tally.posted
            if one not in tally.completed and not (one in tally.gave_up and one not in tally.answered)
        ]

    async def _work(self, shift: Shift) -> None:
        """An agent: there for the shift, answers what is offered, works for the recorded time."""
        await self._until(shift.start_s)
        desktop = self._clients.desktop(f"crew-{shift.agent}")
        await desktop.sign_in()
        end = asyncio.create_task(self._end_of(shift))
        held: dict[str, asyncio.Task[None]] = {}
        try:
            while not (end.done() and not held):
                inbox = await self._poll(desktop, end, busy=bool(held))
                held = {one: task for one, task in held.items() if not task.done()}
                for offer in (inbox or {}).get("offers", []):
                    if offer["contact_id"] not in held:
                        held[offer["contact_id"]] = asyncio.create_task(self._take(desktop, offer))
                for contact in (inbox or {}).get("contacts", []):
                    if contact["state"] == "assigned" and contact["contact_id"] not in held:
                        held[contact["contact_id"]] = asyncio.create_task(self._finish(desktop, contact))
        finally:
            end.cancel()
            await asyncio.gather(*held.values(), return_exceptions=True)
        await desktop.sign_out()

    async def _end_of(self, shift: Shift) -> None:
        """The end of the shift; the last crew stays until everything is answered."""
        if shift.end_s < self._day.calls[-1].arrival_s:
            await self._until(shift.end_s)
        else:
            await self._closing.wait()

    async def _poll(self, desktop: Desktop, end: "asyncio.Task[None]", *, busy: bool) -> dict[str, Any] | None:
        poll = asyncio.create_task(desktop.inbox())
        await asyncio.wait({poll} if busy or end.done() else {poll, end}, return_when=asyncio.FIRST_COMPLETED)
        if not poll.done():
            poll.cancel()
            return None
        try:
            return poll.result()
        except Refused as why:
            if why.kind != "session-over":
                raise
            await desktop.sign_in()  # the line was lost for longer than the lease
            return None

    async def _take(self, desktop: Desktop, offer: dict[str, Any]) -> None:
        contact_id = offer["contact_id"]
        self.tally.first_offer.setdefault(contact_id, time.monotonic())
        call = await self._call_of(contact_id)
        try:
            asking = time.monotonic()
            await desktop.accept(offer)
            self.tally.accepting.setdefault(contact_id, asking)
            answered = time.monotonic()
            self.tally.answered.setdefault(contact_id, answered)
            if call is not None:
                await asyncio.sleep(max(0.0, answered + call.service_s / self._speed - time.monotonic()))
            await desktop.complete(offer)
            self.tally.completed[contact_id] = time.monotonic()
        except Refused as why:
            self.tally.refused[why.kind] = self.tally.refused.get(why.kind, 0) + 1
            if contact_id in self.tally.answered:  # the customer left, or another session has it: it is over for us
                self.tally.completed.setdefault(contact_id, time.monotonic())

    async def _finish(self, desktop: Desktop, contact: dict[str, Any]) -> None:
        """A contact that we hold and know nothing of: left from before we lost the line, or from an earlier run."""
        with suppress(Refused):
            await desktop.complete(contact)
            self.tally.completed.setdefault(contact["contact_id"], time.monotonic())

    async def _call_of(self, contact_id: str) -> Call | None:
        """The call of a contact: an offer can be seen before the POST's answer is. None: not one of ours."""
        if contact_id not in self._calls:
            event = self._known.setdefault(contact_id, asyncio.Event())
            try:
                async with asyncio.timeout(UNKNOWN_CONTACT_S):
                    await event.wait()
            except TimeoutError:
                return None
        return self._calls[contact_id]

    async def _settle(self) -> None:
        """Wait until intake, and with it everybody who reads the log, knows of the last ends."""
        last = sorted(self.tally.posted)[-20:]
        deadline = time.monotonic() + SETTLE_MAX_S
        for contact_id in last:
            while time.monotonic() < deadline:
                state = (await self._integration.get(contact_id))["state"]
                if state in ("completed", "abandoned", "cancelled"):
                    break
                await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)

    def _figures(self) -> dict[str, Any]:
        tally = self.tally
        waits = [tally.answered[one] - tally.posted[one] for one in tally.answered if one in tally.posted]
        handled = [tally.completed[one] - tally.answered[one] for one in tally.completed if one in tally.answered]
        abandoned = len(tally.gave_up - set(tally.answered))
        lowest, highest = levels(tally, threshold_s=self._threshold_ms() / 1000)
        seen = [tally.first_offer[one] - tally.posted[one] for one in tally.first_offer if one in tally.posted]
        return {
            "offered": len(tally.posted),
            "answered": len(tally.answered),
            "abandoned": abandoned,
            "waiting": len(tally.posted) - len(tally.answered) - abandoned,
            "service_level": lowest,
            "service_level_at_most": highest,
            "asa_s": sum(waits) / len(waits) if waits else None,
            "aht_s": sum(handled) / len(handled) if handled else None,
            "post_to_offer_ms": percentiles([one * 1000 for one in seen]),
            "refused": tally.refused,
        }

    async def _reported(self, administrator: Administrator, start: datetime, end: datetime) -> dict[str, Any]:
        """Reporting's figures of the run, over all queues."""
        window = {"start": _utc(start), "end": _utc(end)}
        deadline = time.monotonic() + SETTLE_MAX_S
        while True:
            found = [await administrator.summary(self._queue(kind), **window) for kind in self._day.types]
            if time.monotonic() > deadline or sum(one["waiting"] for one in found) == 0:
                break
            await asyncio.sleep(0.2)
        names = ("abandoned", "waiting", "in_time", "requeued", "contacts_offered", "contacts_answered", "answered")
        total = {name: sum(one[name] for one in found) for name in names}
        judged = total["answered"] + total["abandoned"]
        waits = sum((one["asa_ms"] or 0) * one["answered"] for one in found)
        handled = sum((one["aht_ms"] or 0) * one["answered"] for one in found)
        return {
            "offered": total["contacts_offered"],
            "answered": total["contacts_answered"],
            "abandoned": total["abandoned"],
            "waiting": total["waiting"],
            "requeued": total["requeued"],
            "service_level": total["in_time"] / judged if judged else None,
            "asa_s": waits / total["answered"] / 1000 if total["answered"] else None,
            "aht_s": handled / total["answered"] / 1000 if total["answered"] else None,
            "as_of": min(one["as_of"] for one in found),
        }


def levels(tally: Tally, *, threshold_s: float) -> tuple[float | None, float | None]:
    """The least and the most that the service level can have been, by what the clients saw.

    A contact's wait lies between two events inside the platform: its acceptance, which the clients know to be between the
    sending of the POST and its answer, and the agent's accept, between that command's sending and its answer. So each wait
    is known only up to the two requests' own time, which matters when a fast replay shrinks the threshold to it.
    """
    waits = [
        (tally.accepting[one] - tally.promised[one], tally.answered[one] - tally.posted[one])
        for one in tally.answered
        if one in tally.posted
    ]
    judged = len(waits) + len(tally.gave_up - set(tally.answered))
    if not judged:
        return None, None
    sure = sum(longest <= threshold_s - CLOCKS_S for _, longest in waits)
    possible = sum(shortest <= threshold_s + CLOCKS_S for shortest, _ in waits)
    return sure / judged, possible / judged


def percentiles(values: list[float]) -> dict[str, float | None]:
    """p50 and p99 of measured values."""
    ordered = sorted(values)
    if not ordered:
        return {"p50": None, "p99": None}
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]}


def differences(result: dict[str, Any]) -> list[str]:
    """Where reporting says other than the clients saw: counts must be equal, times within one second, the service level
    within what the clients' requests leave open (unless agents lost contacts: then customers waited again)."""
    ours, theirs = result["clients"], result["reporting"]
    found = [
        f"{name}: the clients saw {ours[name]}, reporting says {theirs[name]}"
        for name in ("offered", "answered", "abandoned", "waiting")
        if ours[name] != theirs[name]
    ]
    for name in ("asa_s", "aht_s"):
        if (ours[name] is None) != (theirs[name] is None) or abs((ours[name] or 0) - (theirs[name] or 0)) > 1.0:
            found.append(f"{name}: the clients saw {ours[name]}, reporting says {theirs[name]}")
    least, most, level = ours["service_level"], ours["service_level_at_most"], theirs["service_level"]
    agree = least == level if least is None or level is None else least <= level <= most
    if not agree and not theirs["requeued"]:
        found.append(f"service_level: the clients saw {least} to {most}, reporting says {level}")
    return found


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
