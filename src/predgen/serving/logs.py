"""A server's log: one JSON object a line, on standard error. Rows are never in it."""

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any

EVENTS = logging.getLogger("predgen.serving")
"""Where the server says what it does: `EVENTS.info("request", extra={"facts": {...}})`."""


class JsonLog(logging.Formatter):
    """Log records as JSON objects: time, level, event, and the facts that belong to it."""

    def format(self, record: logging.LogRecord) -> str:
        data: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "process": record.process,
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            data["error"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(data, default=str)  # ASCII: nothing in it can steer a terminal


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "predgen.serving.logs.JsonLog"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
    "loggers": {
        "predgen.serving": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}
"""Configuration of the log, for this server's events and uvicorn's."""
