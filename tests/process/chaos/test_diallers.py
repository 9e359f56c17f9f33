"""The kernel tells who dialled."""

from __future__ import annotations

import os
import socket

import pytest

from tests.process.chaos.diallers import SUPPORTED, dialler

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="asks Linux")

NOBODY = 1 << 30


@pytest.mark.parametrize(("family", "host"), [("v4", "127.0.0.1"), ("v6", "::ffff:127.0.0.1")])
def test_the_dialler_is_found_by_the_addresses(family: str, host: str) -> None:
    kinds = {"v4": socket.AF_INET, "v6": socket.AF_INET6}  # gRPC dials by sockets of both families
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(kinds[family]) as near,
    ):
        near.connect((host, server.getsockname()[1]))
        far, peer = server.accept()
        with far:
            assert dialler(peer, far.getsockname(), [NOBODY, os.getpid()]) == os.getpid()
            assert dialler(peer, far.getsockname(), [NOBODY]) is None
            assert dialler((peer[0], 1), far.getsockname(), [os.getpid()]) is None
