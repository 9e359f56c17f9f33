"""Moments as Kubernetes writes them. Pure: the moment is given, no clock is read.

Status keeps whole seconds. A moment that cannot be read counts as this one: what depends on it then
waits its full time again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_SECOND_MS = 1_000


def as_text(moment_ms: int) -> str:
    """Wall-clock milliseconds as RFC 3339."""
    return datetime.fromtimestamp(moment_ms // _SECOND_MS, UTC).strftime(_FORMAT)


def read_ms(text: Any, now_ms: int) -> int:
    """The moment that `as_text` wrote."""
    if not isinstance(text, str):
        return now_ms
    try:
        moment = datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return now_ms
    return int(moment.timestamp()) * _SECOND_MS


def elapsed_ms(text: Any, now_ms: int) -> int:
    """How long ago `text` was; 0 if it lies ahead, as after a clock was set back."""
    return max(0, now_ms - read_ms(text, now_ms))
