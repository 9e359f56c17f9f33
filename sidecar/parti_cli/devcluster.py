"""A local cluster of real sidecar processes, and of applications beside them, in one directory.

`DevCluster` serves `parti dev`, the demo, the process tests and the benchmarks. Everything it
knows stands in the directory, so a later program can take over where an earlier one ended. Used as
a context manager it *owns* the cluster: every process ends with the block, and also when this
program is killed (a small helper process watches it).

All methods block, each with a deadline, and may be called from several threads
(`await asyncio.to_thread(cluster.kill, "m1")`). Members are called m1, m2...; a number is never
used twice.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from parti_cli import launching
from parti_cli.connection import AdminConnection
from parti_cli.devstate import Addresses, ClusterFiles, ClusterState, MemberState
from parti_cli.errors import CliError, DevClusterError
from parti_cli.processes import Process, is_running, send_signal, wait_ended
from parti_proto import admin_pb2, app_pb2

__all__ = ["DevCluster", "Part"]

_POLL_S = 0.05
_CALL_TIMEOUT_S = 2.0
_KILL_TIMEOUT_S = 10.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0  # a sidecar drains for 20 s at most by default


class Part(StrEnum):
    """Which processes of a member are meant."""

    ALL = "all"
    SIDECAR = "sidecar"
    WORKER = "worker"


class DevCluster:
    """The local cluster of one directory."""

    def __init__(
        self,
        directory: Path,
        *,
        sidecar_command: Sequence[str] = launching.SIDECAR_COMMAND,
        on_progress: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.files = ClusterFiles(directory.resolve())
        self._sidecar_command = tuple(sidecar_command)
        self._say = on_progress
        self._reaper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Own the cluster from here on."""
        self._reaper = subprocess.Popen(
            [sys.executable, "-m", "parti_cli.reaper", str(self.files.directory)],
            stdin=subprocess.PIPE,
            env=launching.import_path_environment(),
            start_new_session=True,
        )
        atexit.register(self.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- the life of the cluster ---

    def up(
        self,
        members: int,
        *,
        partitions: int = 64,
        worker: Sequence[str] = (),
        base_port: int = 0,
        sidecar_arguments: Sequence[str] = (),
        timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        """Start a new cluster and wait until every member is ready."""
        assert members >= 1, "a cluster has at least one member"
        deadline = time.monotonic() + timeout_s
        with self.files.locked():
            if self.files.exists():
                raise DevClusterError(
                    f"there is a local cluster in {self.files.directory} already",
                    hint="`parti dev status` shows it, `parti dev down` ends it, "
                    "`parti dev restart` starts it again.",
                )
            self.files.wipe()
            self.files.save(
                ClusterState(partitions, list(sidecar_arguments), list(worker), base_port)
            )
        first = self._create((), founding=True)
        self._await_addresses([first], deadline)
        others = [self._create((), founding=False) for _ in range(members - 1)]
        self._await_addresses(others, deadline)
        self.wait_ready(timeout_s=deadline - time.monotonic())
        self._start_workers([first, *others])

    def add(
        self, *, sidecar_arguments: Sequence[str] = (), timeout_s: float = START_TIMEOUT_S
    ) -> str:
        """Start one more member, wait until it is ready and give its name."""
        deadline = time.monotonic() + timeout_s
        name = self._create(sidecar_arguments, founding=False)
        self._await_addresses([name], deadline)
        self.wait_ready([name], timeout_s=deadline - time.monotonic())
        self._start_workers([name])
        return name

    def close(self) -> None:
        """End every process at once and forget the cluster; logs and data stay on the disk."""
        atexit.unregister(self.close)
        with self.files.locked():
            if self.files.exists():
                state = self.files.load()
                for member in state.members.values():
                    self._signal_parts(member, Part.ALL, signal.SIGKILL)
                for member in state.members.values():
                    self._await_end(member, Part.ALL, _KILL_TIMEOUT_S)
                self.files.forget()
        if self._reaper is not None:
            self._reaper.communicate(timeout=_KILL_TIMEOUT_S)  # closes its input, which ends it
            self._reaper = None

    # --- one member ---

    def kill(self, name: str, part: Part = Part.ALL) -> None:
        """Kill -9, and wait until it is gone."""
        member = self.member(name)
        self._signal_parts(member, part, signal.SIGKILL)
        self._await_end(member, part, _KILL_TIMEOUT_S)

    def pause(self, name: str, part: Part = Part.ALL) -> None:
        """Freeze it (SIGSTOP)."""
        self._signal_parts(self.member(name), part, signal.SIGSTOP)

    def resume(self, name: str, part: Part = Part.ALL) -> None:
        """Let a frozen one go on (SIGCONT)."""
        self._signal_parts(self.member(name), part, signal.SIGCONT)

    def stop_gracefully(self, name: str, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End worker and sidecar as Kubernetes does: each is asked, hands over and ends."""
        deadline = time.monotonic() + timeout_s
        member = self.member(name)
        for part in (Part.WORKER, Part.SIDECAR):
            self._signal_parts(member, part, signal.SIGTERM)
            self._signal_parts(member, part, signal.SIGCONT)  # a frozen one hears nothing
            self._await_end(member, part, deadline - time.monotonic())

    def restart(
        self, name: str, *, lose_disk: bool = False, timeout_s: float = START_TIMEOUT_S
    ) -> None:
        """Start it again at its old addresses; stop it gracefully first if it runs."""
        deadline = time.monotonic() + timeout_s
        self.stop_gracefully(name, timeout_s)
        self.start([name], lose_disk=lose_disk)
        self.wait_ready([name], timeout_s=deadline - time.monotonic())
        self._start_workers([name])

    def start(self, names: Iterable[str], *, lose_disk: bool = False) -> None:
        """Start the sidecars of ended members again without waiting until they are ready."""
        with self._changing() as state:
            for name in names:
                member = self._find(state, name)
                assert not _runs(member.sidecar), f"{name} still runs"
                if lose_disk:
                    shutil.rmtree(self.files.data_directory(name))
                member.sidecar = launching.start_sidecar(
                    self.files,
                    state,
                    member,
                    command=self._sidecar_command,
                    founding=len(state.members) == 1,
                )

    def start_ended(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start all members that have ended, as after a reboot, and wait until they are ready."""
        deadline = time.monotonic() + timeout_s
        ended = [member.name for member in self.members() if not _runs(member.sidecar)]
        self.start(ended)
        if ended:
            self.wait_ready(ended, timeout_s=deadline - time.monotonic())
        self._start_workers([member.name for member in self.members()])

    def remove(self, name: str, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Take it out of the cluster for good: drained, removed, ended, its data deleted."""
        deadline = time.monotonic() + timeout_s
        helper = next((other for other in self.running() if other != name), None)
        if helper is None:
            raise DevClusterError(
                f"{name} is the last running member",
                hint="End the whole cluster with `parti dev down`.",
            )
        found = self._reported(helper, name)
        if found is not None:
            request = admin_pb2.SetIntentRequest(
                member_id=found.member_id, intent=admin_pb2.INTENT_REMOVE
            )
            with self.admin(helper) as admin:
                admin.call(admin.stub.SetIntent, request)
            self._poll(
                deadline,
                lambda: self._owned(helper, name) == 0,
                lambda: f"{name} still owns {self._owned(helper, name)} partitions",
            )
            self.stop_gracefully(name, deadline - time.monotonic())  # this closes its session
            self._poll(
                deadline,
                lambda: self._reported(helper, name) is None,
                lambda: f"{name} is still a member of the cluster",
            )
        self.kill(name)
        with self._changing() as state:
            del state.members[name]
        shutil.rmtree(self.files.member_directory(name))

    # --- what there is ---

    def members(self) -> list[MemberState]:
        """All members, as remembered."""
        return list(self.files.load().members.values())

    def member(self, name: str) -> MemberState:
        """One member, as remembered."""
        return self._find(self.files.load(), name)

    def running(self) -> list[str]:
        """Names of the members whose sidecar lives."""
        return [member.name for member in self.members() if _runs(member.sidecar)]

    def addresses(self, name: str) -> Addresses:
        """Where the sidecar of a member listens."""
        return self.member(name).addresses

    def admin(self, name: str, timeout_s: float = _CALL_TIMEOUT_S) -> AdminConnection:
        """A connection to its admin API, to be used as a context manager."""
        return AdminConnection(self.addresses(name).admin, timeout_s)

    def status(self, name: str, timeout_s: float = _CALL_TIMEOUT_S) -> admin_pb2.Status:
        """What the member says about itself."""
        with self.admin(name, timeout_s) as admin:
            reply: admin_pb2.Status = admin.call(admin.stub.GetStatus, admin_pb2.GetStatusRequest())
            return reply

    def partitions(self, name: str) -> list[app_pb2.PartitionState]:
        """The table as this member sees it."""
        with self.admin(name) as admin:
            reply = admin.call(admin.stub.ListPartitions, admin_pb2.ListPartitionsRequest())
        return list(reply.partitions)

    def wait_ready(
        self, names: Sequence[str] | None = None, *, timeout_s: float = START_TIMEOUT_S
    ) -> None:
        """Wait until members (default: all) are ready: they have a session and the table."""
        deadline = time.monotonic() + timeout_s
        for name in names or [member.name for member in self.members()]:
            self._poll(deadline, lambda: self._is_ready(name), lambda: f"{name} is not ready")  # noqa: B023 - called at once
            self._say(f"{name} is ready")

    def wait_settled(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until every running member knows an owner for every partition."""
        deadline = time.monotonic() + timeout_s
        for name in self.running():
            self._poll(deadline, lambda: self._unsettled(name) == 0, lambda: self._missing(name))  # noqa: B023 - called at once

    # --- inside ---

    @contextlib.contextmanager
    def _changing(self) -> Iterator[ClusterState]:
        """Change what is remembered; also kept when the change fails half way."""
        with self.files.locked():
            state = self.files.load()
            try:
                yield state
            finally:
                self.files.save(state)

    def _create(self, arguments: Sequence[str], *, founding: bool) -> str:
        """Remember a new member and start its sidecar."""
        with self._changing() as state:
            state.members_ever += 1
            name = f"m{state.members_ever}"
            addresses = launching.planned_addresses(state.base_port, state.members_ever)
            member = MemberState(name, list(arguments), addresses)
            state.members[name] = member
            member.sidecar = launching.start_sidecar(
                self.files, state, member, command=self._sidecar_command, founding=founding
            )
        self._say(f"{name} started")
        return name

    def _await_addresses(self, names: Sequence[str], deadline: float) -> None:
        for name in names:
            addresses = launching.wait_for_addresses(self.files, self.member(name), deadline)
            with self._changing() as state:
                state.members[name].addresses = addresses

    def _start_workers(self, names: Sequence[str]) -> None:
        with self._changing() as state:
            for name in names:
                member = state.members[name]
                if state.worker_command and not _runs(member.worker):
                    member.worker = launching.start_worker(self.files, state, member)

    def _is_ready(self, name: str) -> bool:
        member = self.member(name)
        if not _runs(member.sidecar):
            log = self.files.log(name, "sidecar")
            raise DevClusterError(
                f"the sidecar of {name} does not run", hint=launching.log_tail(log)
            )
        try:
            return self.status(name).state == "ready"
        except CliError:
            return False

    def _unsettled(self, name: str) -> int:
        try:
            partitions = self.partitions(name)
        except CliError:
            return -1
        return sum(item.phase != app_pb2.PHASE_OWNED for item in partitions)

    def _missing(self, name: str) -> str:
        return f"{name} still sees {self._unsettled(name)} partitions without an owner"

    def _reported(self, helper: str, name: str) -> admin_pb2.Member | None:
        """What the cluster says about the member called `name`, None if it has none."""
        with self.admin(helper) as admin:
            reply = admin.call(admin.stub.ListMembers, admin_pb2.ListMembersRequest())
        return next((item for item in reply.members if item.name == name), None)

    def _owned(self, helper: str, name: str) -> int:
        found = self._reported(helper, name)
        return found.partitions_owned if found is not None else 0

    def _find(self, state: ClusterState, name: str) -> MemberState:
        member = state.members.get(name)
        if member is None:
            known = ", ".join(state.members) or "none"
            raise DevClusterError(f"no local member is called {name}", hint=f"There are: {known}.")
        return member

    def _signal_parts(self, member: MemberState, part: Part, number: signal.Signals) -> None:
        for _, process in _processes(member, part):
            send_signal(process, number)

    def _await_end(self, member: MemberState, part: Part, timeout_s: float) -> None:
        for kind, process in _processes(member, part):
            if not wait_ended(process, timeout_s):
                raise DevClusterError(
                    f"the {kind} of {member.name} (pid {process.pid}) did not end in time",
                    hint=launching.log_tail(self.files.log(member.name, kind)),
                )

    def _poll(self, deadline: float, done: Callable[[], bool], describe: Callable[[], str]) -> None:
        while not done():
            if time.monotonic() >= deadline:
                raise DevClusterError(
                    f"{describe()}, and the time for it is over",
                    hint=f"The logs are in {self.files.directory / 'members'}.",
                )
            time.sleep(_POLL_S)


def _runs(process: Process | None) -> bool:
    return process is not None and is_running(process)


def _processes(member: MemberState, part: Part) -> list[tuple[Part, Process]]:
    """The worker first: it may want to tell its sidecar something when it ends."""
    both = ((Part.WORKER, member.worker), (Part.SIDECAR, member.sidecar))
    return [
        (kind, process)
        for kind, process in both
        if process is not None and part in {kind, Part.ALL}
    ]
