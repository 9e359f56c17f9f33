"""`parti-sidecar`: settings, logs, disk, then the process until it is asked to leave.

What goes wrong is one line on standard error and an exit code:

- 0: ended as asked (also a drain that ran out of time), or was removed from the cluster
- 1: failed; the log has the reason and its traceback
- 2: cannot start like this: settings, an occupied address, a data directory that another process
  uses, that belongs to another cluster or that cannot be used; a cluster to join that refuses
- 3: the stored state is damaged; the directory must be emptied and the member rejoin as a new one
- 128 + N: left at once on a second signal N

Asserts guard the guarantees, so Python's optimised mode is refused.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from parti_raft.types import MemberId
from parti_sidecar.addresses import forget_addresses
from parti_sidecar.config import SidecarConfig
from parti_sidecar.config_sources import ConfigError, dump_config, load_config, parse_arguments
from parti_sidecar.grpc_environment import GRPC_ENVIRONMENT
from parti_sidecar.http import HttpBindError
from parti_sidecar.lifecycle import live
from parti_sidecar.logs import event, set_up_logs
from parti_sidecar.runtime import Supervisor, run
from parti_sidecar.storage.base import (
    CorruptState,
    ForeignIdentity,
    Identity,
    Storage,
    StorageError,
    StoredState,
)
from parti_sidecar.version import VERSION

EXIT_FAILED = 1
EXIT_CANNOT_START = 2
EXIT_DAMAGED = 3
_ADDRESS_SETTINGS = (
    "app_address",
    "peer_address",
    "peer_stream_address",
    "admin_address",
    "http_address",
    "app_socket",
)

_log = logging.getLogger(__name__)


def main() -> None:
    """The console script."""
    try:
        code = start(sys.argv[1:], os.environ)
    except KeyboardInterrupt:  # before the event loop took over the signals
        code = 128 + signal.SIGINT
    sys.exit(code)


def start(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the sidecar with these arguments and variables; gives the exit code."""
    if not __debug__:
        return _complain(
            ["Python's -O removes the checks that the guarantees rest on; run without"]
        )
    try:
        arguments = parse_arguments(argv, VERSION)
        config = load_config(arguments, environ)
    except ConfigError as error:
        return _complain(error.problems)
    if arguments.print_config:
        sys.stdout.write(dump_config(config))
        return 0
    set_up_logs(config.log_format, config.log_level, context={"member": config.name})
    return _run_on_disk(config)


def _run_on_disk(config: SidecarConfig) -> int:
    try:
        storage, stored = open_storage(config)
    except CorruptState as error:
        return _complain([str(error)], EXIT_DAMAGED)
    except StorageError as error:
        return _complain([str(error)])
    with closing(storage):
        return _run_process(config, storage, stored)


def open_storage(config: SidecarConfig) -> tuple[Storage, StoredState]:
    """Lock, verify and load the data directory."""
    # Imported when the settings are known to be good: help and complaints come at once.
    from parti_sidecar.storage.sqlite import SqliteStorage  # noqa: PLC0415

    storage = SqliteStorage(config.data_dir, _new_member_id())
    try:
        stored = storage.load()
        if stored.identity.removed and config.rejoin_after_removal:
            event(_log, "was removed, begins anew", id=f"{stored.identity.member_id:016x}")
            forget_addresses(config.data_dir)
            storage.give_up()
            storage = SqliteStorage(config.data_dir, _new_member_id())
            stored = storage.load()
        _check_cluster(stored.identity, config.cluster_id)
    except BaseException:
        storage.close()
        raise
    return storage, stored


def note_removal(config: SidecarConfig) -> None:
    """Write it down, so that the next start does not ask its former cluster again."""
    from parti_sidecar.storage.sqlite import SqliteStorage  # noqa: PLC0415 - see open_storage

    with closing(SqliteStorage(config.data_dir, _new_member_id())) as storage:
        storage.set_identity(replace(storage.load().identity, removed=True))


def _new_member_id() -> MemberId:
    return MemberId(secrets.randbits(63) + 1)


def _check_cluster(stored: Identity, asked: str) -> None:
    if asked and stored.cluster_id not in ("", asked):
        raise ForeignIdentity(stored, Identity(asked, stored.member_id))


def _run_process(config: SidecarConfig, storage: Storage, stored: StoredState) -> int:
    for name, value in GRPC_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from parti_sidecar.assembly import Sidecar  # noqa: PLC0415 - see open_storage
    from parti_sidecar.driver import Driver, RemovedError  # noqa: PLC0415
    from parti_sidecar.joining import CannotJoinError  # noqa: PLC0415
    from parti_sidecar.meters import Meters  # noqa: PLC0415
    from parti_sidecar.transport import BindError  # noqa: PLC0415

    def make(supervisor: Supervisor) -> Sidecar:
        meters = Meters()
        driver = Driver(config, storage, stored, supervisor, meters)
        return Sidecar(config, driver, meters, supervisor)

    try:
        run(live(config, make))
    except (BindError, HttpBindError) as error:
        return _complain([f"{_setting_of(config, error.address)}{error}"])
    except CorruptState as error:
        return _complain([str(error)], EXIT_DAMAGED)
    except RemovedError as error:
        storage.close()
        note_removal(config)
        return _complain([str(error)], 0)
    except Exception as error:  # noqa: BLE001 - the end of the process, whatever it is
        if isinstance(error.__cause__, CannotJoinError):
            return _complain([f"join: {error.__cause__}"])
        event(_log, "process failed", level=logging.ERROR, error=error)
        return _complain([f"{type(error).__name__}: {error}"], EXIT_FAILED)
    return 0


def _setting_of(config: SidecarConfig, address: str) -> str:
    names = [name for name in _ADDRESS_SETTINGS if getattr(config, name) == address]
    return f"{names[0]}: " if names else ""


def _complain(problems: Sequence[str], code: int = EXIT_CANNOT_START) -> int:
    for problem in problems:
        sys.stderr.write(f"parti-sidecar: {' '.join(problem.split())}\n")
    return code


if __name__ == "__main__":
    main()
