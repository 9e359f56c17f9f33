"""Every default and every limit of the SDK, in one place. Times in ms, sizes in bytes or counts.

A limit that is hit is answered with its own error and counted.
"""

from __future__ import annotations

from typing import Final

PROTOCOL_VERSION: Final = 1

# Client: what waits inside between `send` and its outcome.
UNSETTLED_ITEMS_MAX: Final = 65_536
UNSETTLED_BYTES_MAX: Final = 64 << 20
FRAME_BYTES_TARGET: Final = 64 << 10  # a frame is closed when it holds so much
FRAME_ITEMS_MAX: Final = 1_024
FRAME_ITEMS_SPLIT: Final = 32  # so few go out together in any case
KEY_BYTES_MAX: Final = 1 << 10
HEADERS_BYTES_MAX: Final = 4 << 10
TIMEOUT_MS_MAX: Final = 3_600_000
SEND_MANY_WINDOW: Final = 8_192  # messages of one send_many that are unsettled at once

# The key-value store.
KV_VALUE_BYTES_MAX: Final = 1 << 20
KV_WINDOW: Final = 1_024  # unacknowledged writes of a session, until a sidecar says it
KV_SESSION_TTL_MS: Final = 30_000
KV_SESSION_TTL_MS_MIN: Final = 1_000
KV_SESSION_TTL_MS_MAX: Final = 3_600_000
KV_KEEP_ALIVES_PER_TTL: Final = 4
KV_KEEP_AGAIN_MS: Final = 200  # after a keep-alive without an answer
KV_REST_MS: Final = 200  # after it without writes the last answers are acknowledged
KV_SWEEP_MS: Final = 50  # operations are given up this much too late at most
LOCK_TTL_MS: Final = 10_000
CLOCK_RATE_ERROR_PERCENT: Final = 2  # a lock is counted as lost this much earlier

# The sidecar knows best whether a message ran, so it has this long to say so after the deadline.
ANSWER_GRACE_MS: Final = 50
SWEEP_EVERY_MS_MIN: Final = 10  # deadlines are noticed this much too late at most
RETRY_DELAY_MS: Final = 20  # without a hint of the sidecar: doubled each time, jittered
RETRY_DELAY_MS_MAX: Final = 1_000

# Links: dialling, the first frame, pauses between attempts, the end of a stream.
CONNECT_MS_MAX: Final = 5_000
BACKOFF_MS: Final = 50
BACKOFF_MS_MAX: Final = 2_000
PING_ANSWER_MS: Final = 2_000  # a sidecar that was silent for 5 s has this long to answer
CLOSE_MS_MAX: Final = 1_000
GRPC_MESSAGE_BYTES_MAX: Final = 16 << 20

# Worker.
WORKER_SLICE_MS: Final = 5  # handlers that never suspend run so long before the loop turns
CALLBACKS_MAX: Final = 64  # on_assigned / on_revoked that run at once
HANDLER_THREADS: Final = 32  # threads for handlers that are plain functions
ERROR_TEXT_CHARS_MAX: Final = 1_000
FAILURE_LOG_EVERY_MS: Final = 1_000  # tracebacks of a failing handler in the log
