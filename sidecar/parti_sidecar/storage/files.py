"""Files written so that they survive a power cut, and the mapping of their errors.

`StepHook` is called with the name of each point where a crash leaves a different state on disk.
In service it does nothing; the crash tests end the process or raise an error there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from parti_sidecar.storage.base import DiskFull, WriteFailed

StepHook = Callable[[str], None]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def no_step(_name: str) -> None:
    """Do nothing at every step: the hook in service."""


@contextmanager
def os_errors(doing: str, but_not: type[OSError] | None = None) -> Iterator[None]:
    """Turn an `OSError` into `DiskFull` or the fatal `WriteFailed`."""
    try:
        yield
    except OSError as error:
        if but_not is not None and isinstance(error, but_not):
            raise
        kind = DiskFull if error.errno in _NO_ROOM else WriteFailed
        raise kind(f"{doing}: {error}") from error


def sync_dir(directory: Path) -> None:
    """Make created, renamed and removed names in the directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Create or replace the file's contents, durably; its name is durable after `sync_dir`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_at(descriptor, data, 0)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of the data at the offset (one system call may write less)."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written
