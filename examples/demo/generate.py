"""Write `events.log`: `python -m examples.demo.generate`. The same seed gives the same file."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from examples.demo.events import EVENTS_FILE, Event, write

SEED = 20260101
EVENTS = 6_000
USERS = 400
_START = datetime(2026, 1, 1, 8, 0, tzinfo=UTC)
_PAGES = ("/", "/cart", "/search", "/login", "/orders")
_STATUSES = (200, 201, 304, 404, 500)
_STATUS_WEIGHTS = (82, 5, 7, 5, 1)


def generate(seed: int = SEED, count: int = EVENTS) -> Iterator[Event]:
    """A day's traffic: few users are busy, most are not."""
    chance = random.Random(seed)  # noqa: S311 - a reproducible example, no secret
    users = [f"user-{number:03d}" for number in range(USERS)]
    weights = [1 / (rank + 3) for rank in range(USERS)]
    at = _START
    for event_id in range(1, count + 1):
        at += timedelta(milliseconds=chance.randint(1, 900))
        item = f"/items/{chance.randint(1, 999)}"
        path = item if chance.random() < 0.6 else chance.choice(_PAGES)
        method = "POST" if path in {"/login", "/cart"} else "GET"
        yield Event(
            event_id,
            at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            chance.choices(users, weights)[0],
            method,
            path,
            chance.choices(_STATUSES, _STATUS_WEIGHTS)[0],
            chance.randint(120, 40_000),
        )


def main() -> None:
    """Write the file beside this module."""
    text = "".join(write(event) + "\n" for event in generate())
    EVENTS_FILE.write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
