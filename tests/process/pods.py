"""Sidecars as Kubernetes runs them: each its own process, all with one list of names to join.

A pod keeps its ports and its disk when its process is started again; `localhost` with the port
stands for its name in the headless service. Nobody is told to bootstrap at the start.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from parti_cli.connection import AdminConnection
from parti_cli.errors import CliError
from parti_cli.launching import SIDECAR_COMMAND, import_path_environment, log_tail
from parti_proto import admin_pb2

WAIT_S = 30.0
POLL_S = 0.05
CALL_S = 5.0
PARTITIONS = 8
NAMES_NOBODY_HAS = ("pod-9.nobody.invalid:5101",)


class Pod:
    """One sidecar and its disk."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.data = folder / name
        self.log = folder / f"{name}.log"
        ports = _free_ports(4)
        self.app, self.peer, self.admin, self.http = (f"127.0.0.1:{port}" for port in ports)
        self.dns_name = f"localhost:{ports[1]}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *flags: str) -> None:
        """Start the container."""
        assert self.process is None, f"{self.name} runs"
        addresses = (
            *("--app-address", self.app, "--peer-address", self.peer),
            *("--admin-address", self.admin, "--http-address", self.http),
        )
        own = ("--name", self.name, "--data-dir", str(self.data), "--log-format", "human")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*SIDECAR_COMMAND, *own, *addresses, *flags],
                stdout=log,
                stderr=log,
                env=import_path_environment(),
            )

    def terminate(self) -> None:
        """SIGTERM."""
        assert self.process is not None
        self.process.terminate()

    def kill(self) -> None:
        """SIGKILL, and gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(WAIT_S)
            self.process = None

    async def ended(self, timeout_s: float = WAIT_S) -> int:
        """Wait until the process has ended by itself; its exit code."""
        assert self.process is not None
        code = await asyncio.to_thread(self.process.wait, timeout_s)
        self.process = None
        return code

    def call(self, method: str, request: object, timeout_s: float = CALL_S) -> object:
        """One call of the admin API. Raises CliError."""
        with AdminConnection(self.admin, timeout_s) as admin:
            return admin.call(getattr(admin.stub, method), request)

    def status(self) -> admin_pb2.Status | None:
        """What it says of itself; None while it does not answer."""
        try:
            found = self.call("GetStatus", admin_pb2.GetStatusRequest())
        except CliError:
            return None
        assert isinstance(found, admin_pb2.Status)
        return found

    def members(self) -> dict[str, admin_pb2.Member]:
        """The members as this one knows them, by name."""
        found = self.call("ListMembers", admin_pb2.ListMembersRequest())
        assert isinstance(found, admin_pb2.ListMembersReply)
        return {member.name: member for member in found.members}

    def probe(self, path: str) -> tuple[int, list[str]]:
        """The answer of a probe: status and reasons."""
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=CALL_S) as answer:
                return answer.status, json.load(answer)["reasons"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["reasons"]

    async def wait_state(self, *states: str) -> admin_pb2.Status:
        """Wait until it says that it is in one of these states."""
        status: admin_pb2.Status | None = None

        def there() -> bool:
            nonlocal status
            status = self.status()
            return status is not None and status.state in states

        await self.wait(there, lambda: f"is {status}, not {states}")
        assert status is not None
        return status

    async def wait(self, condition: Callable[[], bool], what: Callable[[], str]) -> None:
        """Wait for something, asked in a thread; fails with the log when the time is over."""
        deadline = time.monotonic() + WAIT_S
        while not await asyncio.to_thread(condition):
            assert time.monotonic() < deadline, f"{self.name} {what()}\n{log_tail(self.log)}"
            assert self.process is None or self.process.poll() is None, log_tail(self.log)
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def pods(folder: Path, *names: str) -> AsyncIterator[list[Pod]]:
    """Pods that are not started yet; killed at the end."""
    made = [Pod(folder, name) for name in names]
    try:
        yield made
    except BaseException as error:
        error.add_note("\n".join(f"--- {pod.name}\n{log_tail(pod.log)}" for pod in made))
        raise
    finally:
        for pod in made:
            pod.kill()


def join_flags(everybody: Sequence[Pod]) -> tuple[str, str]:
    """The same list for all, with names of pods that do not exist."""
    return "--join", ",".join([*(pod.dns_name for pod in everybody), *NAMES_NOBODY_HAS])


async def bootstrap(pod: Pod, cluster_id: str = "uid", *, lease_ttl_ms: int = 0) -> None:
    """Tell it to found the cluster, as the operator does."""
    await pod.wait_state("waiting", "joining")
    request = admin_pb2.BootstrapRequest(
        cluster_id=cluster_id, partitions=PARTITIONS, lease_ttl_ms=lease_ttl_ms
    )
    await asyncio.to_thread(pod.call, "Bootstrap", request)


async def running_pods(everybody: Sequence[Pod], *flags: str, lease_ttl_ms: int = 0) -> None:
    """Start all, found the cluster at the first, wait until all are ready."""
    for pod in everybody:
        pod.start(*join_flags(everybody), "--cluster-id", "uid", *flags)
    await bootstrap(everybody[0], lease_ttl_ms=lease_ttl_ms)
    for pod in everybody:
        await pod.wait_state("ready")


async def wait_voters(asked: Pod, count: int) -> None:
    """The leader promotes members one by one after they joined."""

    def enough() -> bool:
        return sum(each.role == "voter" for each in asked.members().values()) >= count

    await asked.wait(enough, lambda: f"sees fewer than {count} voters")


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with ExitStack() as stack:
        listening = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in listening]
