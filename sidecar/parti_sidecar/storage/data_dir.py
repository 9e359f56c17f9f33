"""A data directory: which files it has, and how a blank one becomes a member's.

A blank directory is filled so that a crash at any point leaves it either finished or
recognisably unfinished: the database is built under a name of its own (`creating.db`), which
exists until the rename that finishes the creation. Files without a database, and without that
name, are therefore the remains of a member that lost its database, never a blank directory.

The directory of a member that was removed from its cluster is given up by the reverse rename: from
then on it counts as one whose creation was cut short.
"""

from __future__ import annotations

from pathlib import Path

from parti_raft.types import NO_MEMBER, MemberId
from parti_sidecar.storage.base import CorruptState, Identity
from parti_sidecar.storage.database import DATABASE_NAME, create_database
from parti_sidecar.storage.files import StepHook, os_errors, sync_dir
from parti_sidecar.storage.lock import LOCK_NAME
from parti_sidecar.storage.snapshots import SnapshotFiles
from parti_sidecar.storage.witness import WITNESS_NAME, create_witness

_CREATING_NAME = "creating.db"
_NOT_OURS = frozenset({LOCK_NAME, "lost+found"})  # the latter is in the root of ext volumes


def ensure_member(data_dir: Path, new_member_id: MemberId, step_hook: StepHook) -> None:
    """Make a blank directory that of a new member; leave a member's directory as it is."""
    if new_member_id == NO_MEMBER:
        raise ValueError("a member id is not zero")
    with os_errors("creating the member"):
        if (data_dir / DATABASE_NAME).exists():
            return
        _remove_unfinished(data_dir, step_hook)
        found = sorted(path.name for path in data_dir.iterdir() if path.name not in _NOT_OURS)
        if found:
            raise CorruptState(f"{DATABASE_NAME} is missing beside {', '.join(found)}")
        identity = Identity(cluster_id="", member_id=new_member_id)
        creating = data_dir / _CREATING_NAME
        create_database(creating, identity, step_hook)
        sync_dir(data_dir)
        step_hook("database-ready")
        create_witness(data_dir / WITNESS_NAME, identity)
        sync_dir(data_dir)
        step_hook("witness-created")
        creating.rename(data_dir / DATABASE_NAME)
        step_hook("member-named")
        sync_dir(data_dir)
        step_hook("member-created")


def give_up(data_dir: Path, step_hook: StepHook) -> None:
    """Let the closed database count as unfinished: `ensure_member` empties the directory then."""
    with os_errors("giving up the directory"):
        (data_dir / DATABASE_NAME).rename(data_dir / _CREATING_NAME)
        step_hook("database-given-up")
        sync_dir(data_dir)
        step_hook("member-given-up")


def _remove_unfinished(data_dir: Path, step_hook: StepHook) -> None:
    creating = data_dir / _CREATING_NAME
    if not creating.exists():
        return
    # The name that says "unfinished" goes last, else a crash here would leave mere remains.
    for name in (_CREATING_NAME, DATABASE_NAME):
        for path in data_dir.glob(f"{name}-*"):
            path.unlink()
    SnapshotFiles(data_dir, step_hook).remove_others(None)
    (data_dir / WITNESS_NAME).unlink(missing_ok=True)
    sync_dir(data_dir)
    step_hook("unfinished-emptied")
    creating.unlink()
    sync_dir(data_dir)
    step_hook("unfinished-removed")
