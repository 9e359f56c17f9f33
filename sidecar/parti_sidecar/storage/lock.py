"""The lock on a data directory: one process at a time may use a member's disk.

Two processes with one identity would vote twice. The lock is `flock` on an open file: the
kernel releases it when the process is gone, however it died, so a lock file left behind means
nothing. The process id inside is for the message of the one who comes second.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from parti_sidecar.storage.base import DataDirLocked

LOCK_NAME = "lock"


class DataDirLock:
    """Held from construction to `close`; creates the directory (0700) if need be."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(self._descriptor)
            os.close(self._descriptor)
            raise DataDirLocked(data_dir, holder) from None
        except OSError:
            os.close(self._descriptor)
            raise
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        self._held = True

    def close(self) -> None:
        if self._held:
            self._held = False
            os.close(self._descriptor)


def _holder(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None
