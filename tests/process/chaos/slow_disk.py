"""A disk that takes longer for each durable step, as long as a file beside the data says so."""

from __future__ import annotations

import time
from pathlib import Path

from parti_raft.types import Snapshot
from parti_sidecar.storage.base import Identity, Storage, StoredState, WriteBatch

SWITCH = "slow-disk-ms"  # in the folder that holds the data directory


class SlowStorage:
    """Any storage; `switch` holds how long a step takes in addition, or is not there."""

    def __init__(self, storage: Storage, switch: Path) -> None:
        self._storage = storage
        self._switch = switch

    def load(self) -> StoredState:
        return self._storage.load()

    def set_identity(self, identity: Identity) -> None:
        self._storage.set_identity(identity)

    def write(self, batch: WriteBatch) -> None:
        try:
            delay_ms = int(self._switch.read_text(encoding="ascii"))
        except FileNotFoundError:
            delay_ms = 0
        time.sleep(delay_ms / 1000)
        self._storage.write(batch)

    def maintain(self, *, idle: bool) -> None:
        self._storage.maintain(idle=idle)

    def read_snapshot(self) -> Snapshot:
        return self._storage.read_snapshot()

    def close(self) -> None:
        self._storage.close()


def set_slow(data_directory: Path, delay_ms: int) -> None:
    """Make the disk of a running sidecar so slow; 0: as fast as it is."""
    switch = data_directory.parent / SWITCH
    if delay_ms:
        temporary = switch.with_suffix(".new")
        temporary.write_text(str(delay_ms), encoding="ascii")
        temporary.replace(switch)
    else:
        switch.unlink(missing_ok=True)
