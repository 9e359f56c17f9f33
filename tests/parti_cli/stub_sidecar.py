"""A stand-in for `parti-sidecar`: same flags and files, an admin API that knows only itself.

What it is told by the environment: STUB_FAIL ends it at once with that text.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from parti_proto import admin_pb2, admin_pb2_grpc, app_pb2


class StubAdmin(admin_pb2_grpc.AdminServicer):
    def __init__(self, name: str, arguments: list[str]) -> None:
        self._name = name
        self._arguments = arguments

    def GetStatus(self, request: Any, context: Any) -> admin_pb2.Status:  # noqa: N802
        return admin_pb2.Status(
            name=self._name, state="ready", cluster_id=" ".join(self._arguments)
        )

    def ListPartitions(self, request: Any, context: Any) -> admin_pb2.ListPartitionsReply:  # noqa: N802
        owned = app_pb2.PartitionState(partition=0, owner=1, epoch=1, phase=app_pb2.PHASE_OWNED)
        return admin_pb2.ListPartitionsReply(partitions=[owned])

    def ListMembers(self, request: Any, context: Any) -> admin_pb2.ListMembersReply:  # noqa: N802
        return admin_pb2.ListMembersReply(members=[admin_pb2.Member(name=self._name, member_id=1)])

    def SetIntent(self, request: Any, context: Any) -> admin_pb2.SetIntentReply:  # noqa: N802
        return admin_pb2.SetIntentReply()


def main() -> None:
    """Serve until SIGTERM."""
    if "STUB_FAIL" in os.environ:
        sys.exit(os.environ["STUB_FAIL"])
    parser = argparse.ArgumentParser()
    for flag in ("name", "data-dir", "admin-address"):
        parser.add_argument(f"--{flag}", required=True)
    known, _ = parser.parse_known_args()
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    admin_pb2_grpc.add_AdminServicer_to_server(  # type: ignore[no-untyped-call]
        StubAdmin(known.name, sys.argv[1:]), server
    )
    port = server.add_insecure_port(known.admin_address)
    server.start()
    addresses = {
        kind: f"127.0.0.1:{number}" for kind, number in (("app", 1), ("peer", 2), ("http", 3))
    }
    addresses["admin"] = f"127.0.0.1:{port}"
    temporary = Path(known.data_dir) / "addresses.new"
    temporary.write_text(json.dumps(addresses))
    temporary.replace(Path(known.data_dir) / "addresses.json")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    while not ended.wait(0.05):  # a signal that another thread took does not end a wait
        pass
    server.stop(0)


if __name__ == "__main__":
    main()
