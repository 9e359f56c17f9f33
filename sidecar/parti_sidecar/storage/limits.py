"""Every limit of durable storage, with the reason for its size."""

from __future__ import annotations

from typing import Final

# A stored row holds the entries of one step up to this size: few rows per commit (a row costs
# about as much as 4 KiB of data), but cutting one in its middle stays cheap.
ROW_BYTES_MAX: Final = 1 << 20

# Deleting this many rows takes about 4 ms; more would delay the votes queued behind it.
COMPACT_ROWS_MAX: Final = 500

# Copying the write-ahead log into the database takes about 2 ms per MiB and stalls commits:
# done early when nothing waits, and at the latest when it would be noticed as a pause.
WAL_IDLE_BYTES: Final = 1 << 20
WAL_BYTES_MAX: Final = 4 << 20
PAGE_BYTES: Final = 4096

# How far the witness may lag behind the store. 64 commits spread the one extra fdatasync to
# about 1.5 % of the time spent in commits; at rest it is at most this old.
WITNESS_LAG_COMMITS_MAX: Final = 64
WITNESS_AGE_MS_MAX: Final = 1000

# Free space that appends and snapshots leave alone, so that votes, compaction and the copying
# of the write-ahead log still work on a disk that fills up.
FREE_SPACE_FLOOR_BYTES: Final = 64 << 20

CLUSTER_ID_BYTES_MAX: Final = 128

# A reader may lose the race with a newer snapshot that replaces the file it looked up.
SNAPSHOT_READ_ATTEMPTS_MAX: Final = 3

# The writer's queue: enough for a full pipeline of appends, little enough to notice a dead disk.
QUEUE_BATCHES_MAX: Final = 1024
QUEUE_BYTES_MAX: Final = 64 << 20

# One group commit: bounded so that the first batch of a group does not wait for the last.
GROUP_BATCHES_MAX: Final = 256
GROUP_BYTES_MAX: Final = 4 << 20

# Housekeeping starts after this pause; then again now and then, for the witness's age.
IDLE_AFTER_MS: Final = 20
IDLE_PERIOD_MS: Final = 500

# Closing waits for the queue, one checkpoint and the witness; a hung disk does not come back.
CLOSE_TIMEOUT_MS: Final = 10_000
