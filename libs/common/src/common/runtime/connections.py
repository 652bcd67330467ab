"""Our end of a connection: what arrives is bounded in size and time, and what is no HTTP is refused as everything else is.

Nobody needs a credential to open a connection, so nothing here may cost more than a few kilobytes for a few seconds.
"""

import asyncio
import resource
from dataclasses import dataclass

from fastapi.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from common.runtime import metrics, problems
from common.runtime.clock import new_id
from common.runtime.problems import Problem

SPARE_FILES = 200
"""Open files that are left for the database, Kafka and ourselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """`connections_max`: open at the same time, held polls among them; one more gets 503. `head_bytes_max`: of the first line
    and all headers. `head_s`, `body_s`: from the first byte (of a new connection: from its beginning) to the last one.
    `keep_alive_s`: how long a connection may be idle between two requests. `write_s`: how long a caller may read nothing."""

    connections_max: int = 8_000
    head_bytes_max: int = 16_384
    head_s: float = 10.0
    body_s: float = 10.0
    keep_alive_s: float = 75.0
    write_s: float = 30.0


def room_for(wanted: int) -> int:
    """How many connections there can be: the machine's limit of open files is raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = raised
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - SPARE_FILES))


def bounded(limits: ConnectionLimits) -> type["Connection"]:
    """The kind of connection with these limits, for uvicorn."""
    return type("BoundedConnection", (Connection,), {"limits": limits})


class Connection(HttpToolsProtocol):
    """uvicorn's connection with bounds. Its phase is `head` until all headers are there, then `body`, then `idle`."""

    limits = ConnectionLimits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._phase = "head"
        self._head_bytes = 0
        self._reads_until: asyncio.TimerHandle | None = None
        self._writes_until: asyncio.TimerHandle | None = None
        if len(self.connections) > self.limits.connections_max:
            self._refuse(problems.TRY_AGAIN, "As many connections are open as may be.", why="too many")
        else:
            self._reads_until = self.loop.call_later(self.limits.head_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_reading_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        before = self._phase
        if before != "body":
            self._head_bytes += len(data)
        self._is_complete = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._phase == "idle" and not self._is_complete:
            self._phase = "head"  # empty lines between two requests: a request that never begins
        if self._phase == "head" and self._head_bytes > self.limits.head_bytes_max:
            self._refuse_head()
        elif self._phase == "idle":
            self._stop_reading_timer()
        elif self._phase != before or self._reads_until is None:  # what comes in one piece needs no timer
            self._stop_reading_timer()
            limit_s = self.limits.head_s if self._phase == "head" else self.limits.body_s
            self._reads_until = self.loop.call_later(limit_s, self._too_slow)

    def on_message_begin(self) -> None:
        self._phase = "head"
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.limits.head_bytes_max:
            self._refuse_head()
            return
        version = self.parser.get_http_version()
        hosts = sum(name == b"host" for name, _ in self.headers)
        expected = [value.lower() for name, value in self.headers if name == b"expect"]
        if version not in ("1.0", "1.1"):
            self._refuse(problems.VERSION_NOT_SUPPORTED, "Only HTTP/1.1 and HTTP/1.0 are spoken here.", why="version")
        elif hosts > 1 or (version == "1.1" and hosts == 0):
            self._refuse(problems.MALFORMED_REQUEST, f"There are {hosts} Host headers.", why="malformed")
        elif expected not in ([], [b"100-continue"]):
            self._refuse(problems.EXPECTATION_FAILED, "Only 100-continue can be expected.", why="expectation")
        else:
            self._phase, self._head_bytes = "body", 0
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.transport.is_closing():
            self._phase, self._is_complete = "idle", True
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn's parser cannot read."""
        if not self.transport.is_closing():
            self._refuse(problems.MALFORMED_REQUEST, msg, why="malformed")

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._writes_until is None:
            self._writes_until = self.loop.call_later(self.limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._writes_until is not None:
            self._writes_until.cancel()
            self._writes_until = None
        super().resume_writing()

    def _stop_reading_timer(self) -> None:
        if self._reads_until is not None:
            self._reads_until.cancel()
            self._reads_until = None

    def _too_slow(self) -> None:
        self._reads_until = None
        if self.transport.is_closing():
            return
        if self._phase == "head" and self._head_bytes == 0:  # nothing was said: there is nothing to answer
            metrics.connections_refused.labels("slow").inc()
            self.transport.close()
        else:
            self._refuse(problems.TOO_SLOW, f"The {self._phase} of the request did not arrive in time.", why="slow")

    def _refuse_head(self) -> None:
        detail = f"The first line and the headers have more than {self.limits.head_bytes_max} bytes."
        self._refuse(problems.HEAD_TOO_LARGE, detail, why="head")

    def _refuse(self, problem: Problem, detail: str, *, why: str) -> None:
        """Answer and close; without an answer where another one is being written or was written for this request."""
        metrics.connections_refused.labels(why).inc()
        self._stop_reading_timer()
        cycle = self.cycle
        is_answering = cycle is not None and (self._phase == "body" or not cycle.response_complete)
        is_first = not self.pipeline and (
            self._phase == "body" or not is_answering
        )  # no answer of before is outstanding
        if is_first and not (is_answering and cycle.response_started):
            headers = {"Connection": "close", "X-Correlation-Id": new_id()}
            self.transport.write(_written(problems.answer(problem, detail, headers=headers)))
        if is_answering:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()


def _written(answer: Response) -> bytes:
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
    return STATUS_LINE[answer.status_code] + lines + b"\r\n" + bytes(answer.body)
