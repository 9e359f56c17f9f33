"""kubectl for tests: one cluster, one namespace, a deadline on every call, errors that tell."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.kube.testbed.commands import TestbedError, run

CALL_DEADLINE_S = 60.0
FORWARD_DEADLINE_S = 15.0
_LISTENS = re.compile(rb"127\.0\.0\.1:(\d+) ->")


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Calls of kubectl against one cluster."""

    program: str
    kubeconfig: Path
    namespace: str = ""

    def within(self, namespace: str) -> Kubectl:
        """The same cluster, another namespace."""
        return replace(self, namespace=namespace)

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        where = ["--kubeconfig", str(self.kubeconfig)]
        where += ["--namespace", self.namespace] if self.namespace else []
        return [self.program, *where, *arguments]

    def __call__(
        self,
        *arguments: str,
        given: str | None = None,
        deadline_s: float = CALL_DEADLINE_S,
    ) -> str:
        """Run it and return what it printed; a failure is an error with what it said."""
        return run(self.command(*arguments), given=given, deadline_s=deadline_s)

    def refused(self, *arguments: str, given: str | None = None) -> str:
        """Run what has to fail, and return what was said."""
        try:
            said = self(*arguments, given=given)
        except TestbedError as error:
            return str(error)
        raise TestbedError(f"`kubectl {' '.join(arguments)}` was not refused:\n{said}")

    def json(self, *arguments: str) -> dict[str, Any]:
        """What `get` shows, as a document."""
        document: dict[str, Any] = json.loads(self("get", *arguments, "--output=json"))
        return document

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """The objects that `get` lists."""
        found: list[dict[str, Any]] = self.json(*arguments)["items"]
        return found

    def apply(self, *documents: Mapping[str, Any]) -> str:
        """Apply objects."""
        listing = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        return self("apply", "--filename=-", given=json.dumps(listing))

    def exec(
        self, pod: str, *command: str, container: str = "", deadline_s: float = CALL_DEADLINE_S
    ) -> str:
        """Run a program in a pod's container."""
        where = [f"--container={container}"] if container else []
        return self("exec", pod, *where, "--", *command, deadline_s=deadline_s)

    @contextmanager
    def port_forward(self, target: str, port: int) -> Iterator[int]:
        """A port of 127.0.0.1 that leads to a pod's or Service's port."""
        command = self.command("port-forward", target, f":{port}")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            yield _forwarded_port(process, command)
        finally:
            process.kill()
            process.communicate()


def _forwarded_port(process: subprocess.Popen[bytes], command: Sequence[str]) -> int:
    assert process.stdout is not None
    end = time.monotonic() + FORWARD_DEADLINE_S
    said = b""
    while (left_s := end - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left_s)[0]:
            break
        chunk = os.read(process.stdout.fileno(), 4096)
        if not chunk:
            break
        said += chunk
        if found := _LISTENS.search(said):
            return int(found[1])
    raise TestbedError(f"`{' '.join(command)}` does not listen:\n{said.decode()}")
