"""Opens the data directory: locked, verified, with what was left to be done before anything runs.

A removed member's directory is given up here if the settings want that, and an order to go on
without the quorum is carried out here.
"""

from __future__ import annotations

import logging
import secrets
from contextlib import closing
from dataclasses import replace

from parti_raft.types import MemberId
from parti_sidecar.addresses import forget_addresses
from parti_sidecar.config import SidecarConfig
from parti_sidecar.logs import event
from parti_sidecar.new_quorum import carry_out, next_order, read_order, remove_order, write_order
from parti_sidecar.storage.base import ForeignIdentity, Identity, Storage, StoredState
from parti_sidecar.storage.sqlite import SqliteStorage

_log = logging.getLogger(__name__)


def open_storage(config: SidecarConfig, force_new_quorum: str = "") -> tuple[Storage, StoredState]:
    """Lock, verify and load; `force_new_quorum` is the cluster of which to be the only voter."""
    storage, stored = _open(config)
    try:
        if stored.identity.removed and config.rejoin_after_removal:
            event(_log, "was removed, begins anew", id=f"{stored.identity.member_id:016x}")
            forget_addresses(config.data_dir)
            storage.give_up()
            storage, stored = _open(config)
        _check_cluster(stored.identity, config.cluster_id)
        if force_new_quorum:
            write_order(config.data_dir, next_order(stored.identity, force_new_quorum))
        order = read_order(config.data_dir)
        if order is not None:
            carry_out(storage, stored, order)
            remove_order(config.data_dir)
            storage.close()
            storage, stored = _open(config)
    except BaseException:
        storage.close()
        raise
    return storage, stored


def note_removal(config: SidecarConfig) -> None:
    """Write it down, so that the next start does not ask its former cluster again."""
    storage, stored = _open(config)
    with closing(storage):
        storage.set_identity(replace(stored.identity, removed=True))


def _open(config: SidecarConfig) -> tuple[SqliteStorage, StoredState]:
    storage = SqliteStorage(config.data_dir, MemberId(secrets.randbits(63) + 1))
    try:
        return storage, storage.load()
    except BaseException:
        storage.close()
        raise


def _check_cluster(stored: Identity, asked: str) -> None:
    if asked and stored.cluster_id not in ("", asked):
        raise ForeignIdentity(stored, Identity(asked, stored.member_id))
