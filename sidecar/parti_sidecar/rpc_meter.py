"""Counts calls, failures, times, frames and messages per RPC, as plain integers.

The metrics page reads the attributes; nothing here formats or locks. A histogram bucket counts the
calls that took at most its bound and longer than the bound before it.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field

BUCKET_BOUNDS_SECONDS = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)


@dataclass(slots=True)
class Durations:
    """A histogram of seconds; the last bucket takes what is over every bound."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKET_BOUNDS_SECONDS) + 1))
    sum_seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one call."""
        self.buckets[bisect_left(BUCKET_BOUNDS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds


class RpcMeter:
    """The counters of all RPCs this process serves."""

    def __init__(self) -> None:
        self.requests: dict[str, int] = Counter()
        self.errors: dict[tuple[str, str], int] = Counter()  # (rpc, reason)
        self.seconds: dict[str, Durations] = defaultdict(Durations)
        self.messages: dict[tuple[str, str], int] = Counter()  # (rpc, "in" or "out")
        self.frames: dict[tuple[str, str], int] = Counter()
        self.bugs = 0  # handlers that ended with an exception nobody expected

    def begin(self, rpc: str) -> float:
        """Count a request; gives what `finish` wants back."""
        self.requests[rpc] += 1
        return time.perf_counter()

    def finish(self, rpc: str, started: float, reason: str = "") -> None:
        """Count the end of a request; `reason` is empty on success."""
        self.seconds[rpc].observe(time.perf_counter() - started)
        if reason:
            self.errors[rpc, reason] += 1

    def frame_in(self, rpc: str, messages: int) -> None:
        """Count a frame that was received."""
        self.frames[rpc, "in"] += 1
        self.messages[rpc, "in"] += messages

    def frame_out(self, rpc: str, messages: int) -> None:
        """Count a frame that is being sent."""
        self.frames[rpc, "out"] += 1
        self.messages[rpc, "out"] += messages
