"""Variables that gRPC's core reads when it is loaded: set them before anything imports `grpc`."""

from __future__ import annotations

from typing import Final

GRPC_ENVIRONMENT: Final = {
    # Its own lines on standard error; what matters is in our errors and logs.
    "GRPC_VERBOSITY": "NONE",
    # The thread that waits for completions polls itself: one hand-over between threads less per
    # frame, a fifth of the latency of a lone message. docs/performance.md has the figures.
    "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener",
}
