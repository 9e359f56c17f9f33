"""The demo's input: lines of an access log, and what must come out of counting them.

A line is: event id, time, user, method, path, status, bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

EVENTS_FILE = Path(__file__).with_name("events.log")


@dataclass(frozen=True, slots=True)
class Event:
    """One request of a user, as the access log tells it."""

    event_id: int
    at: str
    user: str
    method: str
    path: str
    status: int
    size_bytes: int


class Usage(NamedTuple):
    """What is counted per user."""

    requests: int
    size_bytes: int
    errors: int


def parse(line: str) -> Event:
    """Read one line of the log."""
    event_id, at, user, method, path, status, size_bytes = line.split()
    return Event(int(event_id), at, user, method, path, int(status), int(size_bytes))


def write(event: Event) -> str:
    """The line of an event."""
    return (
        f"{event.event_id:06d} {event.at} {event.user} {event.method} {event.path} "
        f"{event.status} {event.size_bytes}"
    )


def read_lines(path: Path) -> list[str]:
    """All lines of a log."""
    return path.read_text(encoding="ascii").splitlines()


def add(usage: Usage, event: Event) -> Usage:
    """One more event of the same user."""
    return Usage(
        usage.requests + 1, usage.size_bytes + event.size_bytes, usage.errors + is_error(event)
    )


def is_error(event: Event) -> bool:
    """Whether the request failed."""
    return event.status >= 400


def expected_usage(lines: Iterable[str]) -> dict[str, Usage]:
    """Count directly, in one process: the yardstick for what the cluster counts."""
    counted: dict[str, Usage] = {}
    for event in map(parse, lines):
        counted[event.user] = add(counted.get(event.user, Usage(0, 0, 0)), event)
    return counted
