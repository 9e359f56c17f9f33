"""`parti-sidecar`: settings, logs, disk, then the process until it is asked to leave.

What goes wrong is one line on standard error and an exit code:

- 0: ended as asked (also a drain that ran out of time), or was removed from the cluster
- 1: failed; the log has the reason and its traceback
- 2: cannot start like this: settings, an occupied address, a data directory that another process
  uses, that belongs to another cluster or that cannot be used; a cluster to join that refuses
- 3: the stored state is damaged; the directory must be emptied and the member rejoin as a new one
- 4: ended to begin again as the only voter of its cluster (ForceNewQuorum): start it again
- 128 + N: left at once on a second signal N

Asserts guard the guarantees, so Python's optimised mode is refused.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing

from parti_sidecar.config import SidecarConfig
from parti_sidecar.config_sources import ConfigError, dump_config, load_config, parse_arguments
from parti_sidecar.grpc_environment import GRPC_ENVIRONMENT
from parti_sidecar.http import HttpBindError
from parti_sidecar.lifecycle import live
from parti_sidecar.logs import event, set_up_logs
from parti_sidecar.removal import RemovedError
from parti_sidecar.runtime import Supervisor, run
from parti_sidecar.storage.base import CorruptState, Storage, StorageError, StoredState
from parti_sidecar.version import VERSION

EXIT_FAILED = 1
EXIT_CANNOT_START = 2
EXIT_DAMAGED = 3
EXIT_NEW_QUORUM = 4
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
    return _run_on_disk(config, arguments.force_new_quorum)


def _run_on_disk(config: SidecarConfig, force_new_quorum: str) -> int:
    # Imported when the settings are known to be good: help and complaints come at once.
    from parti_sidecar.opening import open_storage  # noqa: PLC0415

    try:
        storage, stored = open_storage(config, force_new_quorum)
    except CorruptState as error:
        return _complain([str(error)], EXIT_DAMAGED)
    except StorageError as error:
        return _complain([str(error)])
    with closing(storage):
        return _run_process(config, storage, stored)


def _run_process(config: SidecarConfig, storage: Storage, stored: StoredState) -> int:
    for name, value in GRPC_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from parti_sidecar.assembly import Sidecar  # noqa: PLC0415 - see _run_on_disk
    from parti_sidecar.driver import Driver  # noqa: PLC0415
    from parti_sidecar.joining import CannotJoinError  # noqa: PLC0415
    from parti_sidecar.meters import Meters  # noqa: PLC0415
    from parti_sidecar.new_quorum import NewQuorumOrderedError  # noqa: PLC0415
    from parti_sidecar.opening import note_removal  # noqa: PLC0415
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
    except NewQuorumOrderedError as error:
        return _complain([str(error)], EXIT_NEW_QUORUM)
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
