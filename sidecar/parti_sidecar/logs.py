"""Structured logs: an event is a fixed sentence with named values, one line each.

`event(logger, "partition granted", partition=7, epoch=3)` becomes a JSON object or a line for
people. The sentence never contains values, so that it can be searched and counted. Nothing is
logged per message; what happens often is a metric.

Everything goes to standard error: standard output belongs to `--print-config` and `--version`.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO

_VALUES = "parti_values"  # attribute of a record


class LogFormat(StrEnum):
    """For machines or for people."""

    JSON = "json"
    HUMAN = "human"


class LogLevel(StrEnum):
    """The least severe events that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}
# Keys that every line has; a value of the same name would hide them.
_RESERVED = frozenset({"time", "level", "logger", "event", "traceback"})


def event(
    logger: logging.Logger,
    sentence: str,
    *,
    level: int = logging.INFO,
    error: BaseException | None = None,
    **values: object,
) -> None:
    """Log one event; `error` adds its traceback."""
    assert _RESERVED.isdisjoint(values), f"reserved names in {sorted(values)}"
    if logger.isEnabledFor(level):
        logger.log(level, sentence, exc_info=error, extra={_VALUES: values}, stacklevel=2)


def set_up_logs(
    form: LogFormat, level: LogLevel, *, context: dict[str, object], stream: TextIO | None = None
) -> None:
    """Send all logs of the process to `stream`; `context` stands in every line."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    maker = JsonFormatter if form is LogFormat.JSON else HumanFormatter
    handler.setFormatter(maker(context))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    # asyncio reports its own start at debug level; ours is what matters.
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """One JSON object per line; line breaks inside values are escaped by JSON itself."""

    def __init__(self, context: dict[str, object]) -> None:
        super().__init__()
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **self._context,
            **getattr(record, _VALUES, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class HumanFormatter(logging.Formatter):
    """`time LEVEL sentence key=value ...`; the traceback follows on its own lines."""

    def __init__(self, context: dict[str, object]) -> None:
        super().__init__()
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        values = {**self._context, **getattr(record, _VALUES, {})}
        words = [
            _time(record),
            f"{record.levelname:7}",
            _one_line(record.getMessage()),
            *(f"{key}={_shown(value)}" for key, value in values.items()),
        ]
        line = " ".join(words)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _shown(value: object) -> str:
    text = _one_line(str(value))
    return json.dumps(text) if " " in text or not text or '"' in text else text
