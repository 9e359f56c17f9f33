"""The two clocks of the process; nothing else of the sidecar reads one.

- The lease clock decides who owns what. It never goes back, is not set by anyone, and where the
  system offers it (Linux) it counts on while the machine is suspended: a member that slept has
  lost its lease and must know it. Elsewhere the monotonic clock is the best there is.
- The wall clock only labels what people read (history, logs). Nothing is decided by it.

The SDK compares lease ends that the sidecar sends with its own reading of the same clock of the
same machine. It keeps a copy of `lease_clock_ms` since it must not import the sidecar.
"""

from __future__ import annotations

import time

_NANOSECONDS_PER_MS = 1_000_000
# The name is missing in `time` where the system has no such clock.
LEASE_CLOCK_ID: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_clock_ms() -> int:
    """Milliseconds since some fixed moment of this boot, suspend included where possible."""
    return time.clock_gettime_ns(LEASE_CLOCK_ID) // _NANOSECONDS_PER_MS


def wall_clock_unix_ms() -> int:
    """Milliseconds since 1970, for people."""
    return time.time_ns() // _NANOSECONDS_PER_MS
