"""Every limit of the store, in one place. Times in ms, sizes in bytes or counts.

What is checked when a command is applied must be the same on every member: these are constants,
and `bytes_max`, which may be set, is part of the replicated state.
"""

from __future__ import annotations

KEY_BYTES_MAX = 1 << 10
VALUE_BYTES_MAX = 1 << 20
STORE_BYTES_MAX = 32 << 20  # the default of what may be set
# A snapshot goes to the disk's queue (64 MiB) as one piece, and must fit beside what waits there.
STORE_BYTES_MAX_MAX = 40 << 20
RECORD_OVERHEAD_BYTES = 128  # what a key, a lock's ticket or a session costs beside its bytes

BATCH_OPS_MAX = 1_024
BATCH_BYTES_MAX = 2 << 20  # of keys, values and transactions together

COMPARES_MAX = 64  # of one transaction
TXN_OPS_MAX = 128  # of one branch
TXN_ANSWER_BYTES_MAX = 1 << 20

SESSIONS_MAX = 65_536
SESSION_TTL_MS_MIN = 1_000
SESSION_TTL_MS_MAX = 3_600_000
DEDUP_WINDOW = 1_024  # writes of a session whose answers are kept until it acknowledges them
ANSWERS_KEPT_MAX = 1 << 20  # of all sessions

LOCK_TICKETS_MAX = 1_024  # holder and waiters of one lock
LOCKS_MAX = 65_536

HISTORY_EVENTS_MAX = 65_536
HISTORY_BYTES_MAX = 16 << 20

RANGE_ITEMS_MAX = 1_000
RANGE_BYTES_MAX = 1 << 20
SNAPSHOT_CHUNK_BYTES = 256 << 10
