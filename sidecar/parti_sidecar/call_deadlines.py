"""How long a unary call may take here, so that its caller still hears the answer."""

from __future__ import annotations

# The answer leaves a little before the call's own deadline, so that the caller learns whether the
# request ran. At most this share of the time is given away.
DEADLINE_MARGIN_MS = 60
DEADLINE_MARGIN_SHARE = 8


def timeout_ms_of(remaining_s: float | None) -> int:
    """A caller's remaining time less the margin; 0 for a caller without a deadline."""
    if remaining_s is None:
        return 0
    remaining_ms = int(remaining_s * 1000)
    margin_ms = min(DEADLINE_MARGIN_MS, remaining_ms // DEADLINE_MARGIN_SHARE)
    return max(remaining_ms - margin_ms, 1)
