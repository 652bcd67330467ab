"""One JSON object a line on standard output: a constant event name plus fields. Personal data only under `pii`."""

import logging
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from common.runtime import metrics
from common.runtime.clock import monotonic_s

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


TRACEBACK_CHARS_MAX = 2_000
"""More of a traceback is cut out of its middle: the first line and the innermost calls tell most."""
WINDOW_S = 60.0
TRACEBACKS_MAX = 5
"""Tracebacks of one kind in a window; the lines after them come without."""
LINES_MAX = 120
"""Lines of one kind at warning or above in a window; the rest is counted and told by one line at its end."""
KINDS_MAX = 1_000
"""Kinds that are counted apart; beyond it all are forgotten and counted anew."""
_BOUNDED = {"warning": 30, "error": 40, "exception": 40, "critical": 50}


class Flood:
    """Bounds what trouble may write. A kind is an event's name, and with a traceback the kind of its error.

    Whatever goes wrong a thousand times a second is in the log as often as a person can read, and in the figures wholly.
    """

    def __init__(self, now_s: Callable[[], float] = monotonic_s) -> None:
        self._now_s = now_s
        self._began_s = now_s()
        self._lines: Counter[str] = Counter()
        self._tracebacks: Counter[str] = Counter()

    def admit(self, kind: str, level: str, *, has_traceback: bool) -> tuple[bool, bool, dict[str, int]]:
        """Whether to write the line, whether with its traceback, and which kinds were left out in the window that ended."""
        left_out = self._turn()
        if level not in _BOUNDED:
            return True, has_traceback, left_out
        self._lines[kind] += 1
        if self._lines[kind] > LINES_MAX:
            metrics.log_left_out.labels(level).inc()
            return False, False, left_out
        if has_traceback:
            self._tracebacks[kind] += 1
        return True, has_traceback and self._tracebacks[kind] <= TRACEBACKS_MAX, left_out

    def _turn(self) -> dict[str, int]:
        now_s = self._now_s()
        if now_s - self._began_s < WINDOW_S and len(self._lines) < KINDS_MAX:
            return {}
        left_out = {kind: number - LINES_MAX for kind, number in self._lines.items() if number > LINES_MAX}
        self._began_s = now_s
        self._lines.clear()
        self._tracebacks.clear()
        return left_out


def shortened(text: str) -> str:
    """A traceback with its middle cut out where it is too long."""
    if len(text) <= TRACEBACK_CHARS_MAX:
        return text
    head = text[:200].rpartition("\n")[0]
    return f"{head}\n  … {len(text)} characters …\n{text[len(head) - TRACEBACK_CHARS_MAX :]}"


class _Bounds:
    """The step of structlog that holds our own lines to the bounds."""

    def __init__(self, flood: Flood) -> None:
        self._flood = flood

    def __call__(self, _logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        error = event.get("exc_info")
        if error is True:
            error = sys.exc_info()
        kind = f"{event['event']}{_error_of(error)}"
        written, with_traceback, left_out = self._flood.admit(kind, event["level"], has_traceback=bool(error))
        _tell(left_out, event.get("service"), event.get("instance"))
        if not written:
            raise structlog.DropEvent
        if error and not with_traceback:
            event.pop("exc_info")
            event["error"] = _error_of(error).strip()
        return event


def _error_of(error: object) -> str:
    if isinstance(error, tuple):
        error = error[1]
    return f" {type(error).__name__}" if isinstance(error, BaseException) else ""


def _tell(left_out: dict[str, int], service: object, instance: object) -> None:
    for kind, number in left_out.items():
        line = {"event": "lines_left_out", "kind": kind, "lines": number, "level": "warning"}
        print(msgspec.json.encode({**line, "service": service, "instance": instance}).decode(), flush=True)


def _shorten(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if "exception" in event:
        event["exception"] = shortened(event["exception"])
    return event


def _render(_logger: object, _name: str, event: structlog.typing.EventDict) -> str:
    event.pop("pii", None)  # named for whoever debugs a test; never written
    return msgspec.json.encode(event, enc_hook=str).decode()


def configure_logging(*, service: str, instance: str, level: str) -> None:
    """Send our lines and those of the libraries to standard output, within the bounds of `Flood`."""
    flood = Flood()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _Bounds(flood),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _shorten,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, instance=instance)
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_LibraryBounds(flood, service, instance))
    handler.setFormatter(_LibraryFormatter(service, instance))
    logging.basicConfig(handlers=[handler], level=max(_LEVELS[level], logging.WARNING), force=True)


class _LibraryBounds(logging.Filter):
    """Holds the lines of the libraries to the bounds; a kind is the place that logs."""

    def __init__(self, flood: Flood, service: str, instance: str) -> None:
        super().__init__()
        self._flood = flood
        self._who = (service, instance)

    def filter(self, record: logging.LogRecord) -> bool:
        kind = f"{record.name}:{record.lineno}{_error_of(record.exc_info)}"
        level = record.levelname.lower()
        written, with_traceback, left_out = self._flood.admit(kind, level, has_traceback=bool(record.exc_info))
        _tell(left_out, *self._who)
        if not with_traceback:
            record.exc_info = None
        return written


class _LibraryFormatter(logging.Formatter):
    def __init__(self, service: str, instance: str) -> None:
        super().__init__()
        self._who = {"service": service, "instance": instance}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "event": "library_log",
            "logger": record.name,
            "level": record.levelname.lower(),
            "message": shortened(record.getMessage()),
            **self._who,
        }
        if record.exc_info:
            line["exception"] = shortened(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()
