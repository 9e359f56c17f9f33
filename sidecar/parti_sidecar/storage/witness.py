"""The witness: a small file beside the database that claims what had become durable.

SQLite cannot tell a write-ahead log that lost its tail to decay from one whose tail was never
finished; either way it carries on with less. The witness, which lags behind the database and is
checked against it at load, can tell: the database may be at a later step, never at an earlier.

Two slots are written in turn, each in a page of its own with its own checksum and sync, so that
a torn write leaves the other slot's older claim.
"""

from __future__ import annotations

import os
from pathlib import Path

from parti_sidecar.storage.base import CorruptState, Identity
from parti_sidecar.storage.files import StepHook, os_errors, write_at, write_synced
from parti_sidecar.storage.limits import PAGE_BYTES
from parti_sidecar.storage.records import CLAIM_BYTES, Claim, LogState, decode_claim, encode_claim
from parti_sidecar.storage.recovery import claim_of

WITNESS_NAME = "witness"


def create_witness(path: Path, identity: Identity) -> None:
    """Write the first claim: a member with this id, and nothing else yet."""
    claim = claim_of(identity, LogState(), sequence=0)
    write_synced(path, encode_claim(claim).ljust(2 * PAGE_BYTES, b"\0"))


class Witness:
    """The open witness file; `claim` is the newest readable claim."""

    def __init__(self, path: Path, step_hook: StepHook) -> None:
        self._step_hook = step_hook
        self.claim: Claim | None = None
        try:
            self._descriptor: int | None = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            self._descriptor = None
            return
        with os_errors("reading the witness"):
            slots = [os.pread(self._descriptor, CLAIM_BYTES, at) for at in (0, PAGE_BYTES)]
        readable = [claim for claim in map(_decode, slots) if claim is not None]
        self.claim = max(readable, key=lambda claim: claim.sequence, default=None)

    def write(self, identity: Identity, state: LogState) -> None:
        """Claim `state`, which must be durable."""
        assert self._descriptor is not None, "written only after a load that requires it"
        assert self.claim is not None
        sequence = self.claim.sequence + 1
        claim = claim_of(identity, state, sequence)
        with os_errors("writing the witness"):
            self._step_hook("witness-write")
            write_at(self._descriptor, encode_claim(claim), sequence % 2 * PAGE_BYTES)
            self._step_hook("witness-written")
            os.fdatasync(self._descriptor)
            self._step_hook("witness-synced")
        self.claim = claim

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _decode(slot: bytes) -> Claim | None:
    try:
        return decode_claim(slot)
    except CorruptState:  # never written, or torn: the other slot counts
        return None
