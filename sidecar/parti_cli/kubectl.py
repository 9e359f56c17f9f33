"""What this program asks of `kubectl`: one JSON answer, some text, or a forwarded port.

`kubectl` itself finds the cluster, the credentials and the way to the pods, as the person who runs
it has set up; so the plugin needs no Kubernetes library and has no rights of its own.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from parti_cli.errors import CannotConnectError, CliError, UsageError

__all__ = ["CALL_TIMEOUT_S", "PARTI_CLUSTERS", "Kubectl"]

# With its group: another CRD may have the same short name.
PARTI_CLUSTERS = "particlusters.parti.dev"
CALL_TIMEOUT_S = 30.0
_FORWARD_TIMEOUT_S = 15.0
_END_TIMEOUT_S = 5.0
_ADMIN_PORT = 5102
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`kubectl` with the options that say which cluster and which namespace."""

    namespace: str = ""
    context: str = ""
    kubeconfig: str = ""

    def get(self, *arguments: str) -> Any:
        """The JSON document of `kubectl get ARGUMENTS`."""
        return json.loads(self.text("get", *arguments, "-o", "json"))

    def text(self, *arguments: str) -> str:
        """What a call prints. Raises CliError with the words of kubectl."""
        try:
            done = subprocess.run(
                self._command(arguments),
                capture_output=True,
                text=True,
                timeout=CALL_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CannotConnectError(
                f"kubectl did not answer within {CALL_TIMEOUT_S:g} s",
                hint="Does `kubectl get nodes` work?",
            ) from error
        if done.returncode:
            raise CliError(done.stderr.strip() or f"kubectl ended with {done.returncode}")
        return done.stdout

    def pods_of(self, cluster: str) -> list[Any]:
        """The pods of a PartiCluster, those that are ready first."""
        selector = self.get(PARTI_CLUSTERS, cluster).get("status", {}).get("selector", "")
        if not selector:
            raise CliError(
                f"particluster/{cluster} has no pods yet: its operator has not looked at it",
                hint="Is the operator running? `kubectl describe particluster` tells.",
            )
        pods = self.get("pods", "-l", selector)["items"]
        return sorted(pods, key=lambda pod: (not _is_ready(pod), pod["metadata"]["name"]))

    @contextlib.contextmanager
    def admin_address(self, cluster: str) -> Iterator[str]:
        """The admin API of one of its pods, reachable here while the context lasts."""
        pods = [pod["metadata"]["name"] for pod in self.pods_of(cluster)]
        failure = CliError(f"particluster/{cluster} has no pods")
        for pod in pods:
            with contextlib.ExitStack() as stack:
                try:
                    address = stack.enter_context(self._forwarded(pod))
                except CannotConnectError as error:
                    failure = error
                    continue
                yield address
                return
        raise failure

    @contextlib.contextmanager
    def _forwarded(self, pod: str) -> Iterator[str]:
        arguments = ("port-forward", "--address", "127.0.0.1", f"pod/{pod}", f":{_ADMIN_PORT}")
        process = subprocess.Popen(
            self._command(arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(process, lines))
        reader.start()
        try:
            yield f"127.0.0.1:{_forwarded_port(lines, pod)}"
        finally:
            process.terminate()
            try:
                process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            reader.join()

    def _command(self, arguments: Sequence[str]) -> list[str]:
        program = shutil.which("kubectl")
        if program is None:
            raise UsageError("kubectl is not on the PATH", hint="Install kubectl first.")
        options = {
            "--namespace": self.namespace,
            "--context": self.context,
            "--kubeconfig": self.kubeconfig,
        }
        chosen = [f"{option}={value}" for option, value in options.items() if value]
        return [program, *chosen, *arguments]


def _is_ready(pod: Any) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _forwarded_port(lines: queue.SimpleQueue[str | None], pod: str) -> int:
    said = ""
    with contextlib.suppress(queue.Empty):
        while (line := lines.get(timeout=_FORWARD_TIMEOUT_S)) is not None:
            found = _FORWARDING.search(line)
            if found:
                return int(found[1])
            said = line.strip() or said
    raise CannotConnectError(
        f"cannot reach pod/{pod}: {said or 'kubectl port-forward says nothing'}",
        hint="Is the pod running? May you port-forward to it?",
    )


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    """Read all that kubectl prints, also what nobody waits for: it must never block."""
    assert process.stdout is not None, "a pipe was asked for"
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)
