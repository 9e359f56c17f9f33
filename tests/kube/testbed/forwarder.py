"""Carries connections from the host's 127.0.0.1 to the hub's apiserver.

A socket belongs to the network namespace it was made in: the listener is made in the host's, then
the process moves to the hub's and dials from there.

    python -m tests.kube.testbed.forwarder PORT PID-OF-THE-HUB
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.kube.testbed import layout
from tests.kube.testbed.commands import TestbedError, tail, wait_for
from tests.kube.testbed.processes import identify
from tests.kube.testbed.state import ClusterState

START_DEADLINE_S = 10.0
STOP_DEADLINE_S = 10.0
_CHUNK_BYTES = 65536
_BACKLOG = 128
_CLONE_NEWNET = 0x40000000

_children: dict[int, subprocess.Popen[bytes]] = {}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(state: ClusterState) -> None:
    """Start the cluster's forwarder unless it runs."""
    if state.forwarder is not None and state.forwarder.alive:
        return
    log = state.folders.forwarder_log
    with log.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", __name__, str(state.port), str(state.hub.pid)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=layout.REPOSITORY,
        )
    state.forwarder = identify(child.pid)
    _children[child.pid] = child
    state.save()

    def listens() -> bool:
        if child.poll() is not None:
            raise TestbedError(f"the forwarder did not start:\n{tail(log)}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", state.port)) == 0

    wait_for(listens, START_DEADLINE_S, f"the forwarder on port {state.port}", poll_s=0.02)


def stop(state: ClusterState) -> None:
    """End the cluster's forwarder, if it runs."""
    name = state.forwarder
    if name is None:
        return
    name.send(signal.SIGKILL)
    wait_for(lambda: not name.alive, STOP_DEADLINE_S, "the forwarder's end", poll_s=0.02)
    if child := _children.pop(name.pid, None):
        child.wait(STOP_DEADLINE_S)
    state.forwarder = None
    state.save()


def _enter_network(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open() as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "the hub's network")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        there = await asyncio.open_connection("127.0.0.1", layout.API_PORT)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))


async def _serve(listener: socket.socket) -> None:
    async with await asyncio.start_server(_carry, sock=listener) as server:
        await server.serve_forever()


def main(port: int, pid: int) -> None:
    """Listen here, dial there."""
    listener = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
    _enter_network(pid)
    asyncio.run(_serve(listener))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
