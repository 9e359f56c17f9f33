"""Reading from the apiserver often and cheaply: one `kubectl proxy` for a whole session.

A call of kubectl costs a tenth of a second of processor time, which is too much for polling beside
the load that is measured. The proxy works with whatever a kubeconfig asks for, on a socket that
nobody else can reach.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kube.testbed.commands import TestbedError, wait_for
from tests.kube.testbed.kubectl import Kubectl

START_DEADLINE_S = 15.0
CALL_DEADLINE_S = 10.0
_NOT_FOUND = 404

Document = dict[str, Any]


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket of the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=CALL_DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CALL_DEADLINE_S)
        self.sock.connect(str(self._path))


class Reader:
    """Looks at objects; an apiserver that does not answer is a `TestbedError`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, path: str) -> Document | None:
        """One object or list; None if it is not there."""
        try:
            with contextlib.closing(_Connection(self._path)) as connection:
                connection.request("GET", path)
                answer = connection.getresponse()
                text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise TestbedError(f"GET {path}: {error!r}") from None
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != http.client.OK:
            raise TestbedError(f"GET {path}: {answer.status} {text.decode(errors='replace')}")
        document: Document = json.loads(text)
        return document

    def get(self, path: str) -> Document:
        """One object that has to be there."""
        found = self.find(path)
        if found is None:
            raise TestbedError(f"there is no {path}")
        return found

    def items(self, path: str, selector: str = "") -> list[Document]:
        """The objects of a list."""
        query = f"?labelSelector={selector}" if selector else ""
        found: list[Document] = self.get(path + query)["items"]
        return found


@contextmanager
def reader(kubectl: Kubectl) -> Iterator[Reader]:
    """A way to read for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "api"
        command = kubectl.command("proxy", f"--unix-socket={path}")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(path.exists, START_DEADLINE_S, "kubectl proxy")
            yield Reader(path)
        finally:
            process.kill()
            process.wait()
