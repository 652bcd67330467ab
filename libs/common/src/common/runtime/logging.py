"""One JSON object a line on standard output: a constant event name plus fields. Personal data only under `pii`."""

import logging
import sys
from typing import Any

import msgspec
import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def _render(_logger: object, _name: str, event: structlog.typing.EventDict) -> str:
    event.pop("pii", None)  # named for whoever debugs a test; never written
    return msgspec.json.encode(event, enc_hook=str).decode()


def configure_logging(*, service: str, instance: str, level: str) -> None:
    """Send our lines and those of the libraries to standard output."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, instance=instance)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_LibraryFormatter(service, instance))
    logging.basicConfig(handlers=[handler], level=max(_LEVELS[level], logging.WARNING), force=True)


class _LibraryFormatter(logging.Formatter):
    def __init__(self, service: str, instance: str) -> None:
        super().__init__()
        self._who = {"service": service, "instance": instance}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "event": "library_log",
            "logger": record.name,
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **self._who,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()
