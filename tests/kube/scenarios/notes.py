"""What workers and senders noted, copied from the cluster piece by piece, and judged.

The copy only grows. A verdict is on everything since the cluster began, so that epochs are followed
through all scenarios; what a row of the table tells is cut out by the moments of sending.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kube.app.gains import unpack
from tests.kube.app.load import DONE_SUFFIX, SENT_SUFFIX, read_sent
from tests.kube.app.worker import BEAT_SUFFIX, read_beats
from tests.kube.scenarios.objects import FOLDER, LOAD
from tests.kube.testbed.kubectl import Kubectl
from tests.process.history import Freeze, Outcome, Sent, Verdict, judge
from tests.process.recorder import SUFFIX as EXECUTIONS_SUFFIX
from tests.process.recorder import boottime_ns, read_executions

_DOUBLE = "partition "  # how the judge begins a fault of two owners


@dataclass(slots=True)
class Part:
    """What happened to the messages of one scenario."""

    sent: int
    failed: Counter[str]
    pause_ms: int  # the longest time from sending to acknowledgement
    executions: int
    faults: list[str] = field(default_factory=list)  # not seen before

    @property
    def doubles(self) -> int:
        """Faults that mean two owners of a partition."""
        return sum(fault.startswith(_DOUBLE) for fault in self.faults)


class Notes:
    """The copy, in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.freezes: list[Freeze] = []
        self._seen: set[str] = set()

    # --- copying

    def fetch(self, kubectl: Kubectl, pod: str) -> None:
        """Copy what is new, through the load container of a pod that runs."""
        known = {path.name: path.stat().st_size for path in self.folder.iterdir()}
        command = ("python", "-m", "tests.kube.app.gains", FOLDER)
        where = ("exec", "--stdin", pod, f"--container={LOAD}", "--")
        for name, new in unpack(kubectl(*where, *command, given=json.dumps(known))).items():
            path = self.folder / name
            with path.open("wb" if path.suffix == BEAT_SUFFIX else "ab") as file:
                file.write(new)

    # --- who noted

    def sender(self, pod: str) -> str:
        """The load of a pod's newest container; empty if there was none."""
        return _newest(self._named(SENT_SUFFIX), pod)

    def worker(self, pod: str) -> str:
        """The worker of a pod's newest container."""
        return _newest(self._named(EXECUTIONS_SUFFIX), pod)

    def ended_at_once(self, running: Iterable[str]) -> set[str]:
        """Senders that ended without settling what they had sent."""
        return self._named(SENT_SUFFIX) - self._named(DONE_SUFFIX) - set(running)

    def is_served(self, sender: str, since_ns: int) -> bool:
        """Whether a message that a sender sent since then was acknowledged."""
        return any(
            fields["begun_ns"] > since_ns and fields["outcome"] == Outcome.ACKNOWLEDGED.value
            for fields in self._lines(sender)
        )

    def is_settled(self, sender: str, until_ns: int) -> bool:
        """Whether every message that a sender sent until then has its outcome noted."""
        if (self.folder / f"{sender}{DONE_SUFFIX}").exists():
            return True
        noted = sorted((line["number"], line["begun_ns"]) for line in self._lines(sender))
        later = [number for number, begun_ns in noted if begun_ns > until_ns]
        return bool(later) and sum(number < later[0] for number, _ in noted) == later[0] - 1

    def _lines(self, sender: str) -> Iterable[dict[str, Any]]:
        path = self.folder / f"{sender}{SENT_SUFFIX}"
        if not path.exists():
            return
        for line in path.read_text(encoding="ascii").splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)

    def _named(self, suffix: str) -> set[str]:
        return {path.name.removesuffix(suffix) for path in self.folder.glob(f"*{suffix}")}

    # --- judging

    def part(self, begun_ns: int, ended_ns: int) -> Part:
        """Judge everything, and tell what became of the messages of a time."""
        sent = list(read_sent(self.folder))
        executions = read_executions(self.folder)
        verdict = judge(
            executions,
            sent,
            now_ns=boottime_ns(),
            ended_ns=read_beats(self.folder),
            freezes=self.freezes,
        )
        of_part = [each for each in sent if begun_ns <= each.begun_ns < ended_ns]
        return Part(
            sent=len(of_part),
            failed=Counter(each.reason for each in of_part if _failed(each)),
            pause_ms=max((_took_ms(each) for each in of_part if not _failed(each)), default=0),
            executions=sum(begun_ns <= each.enter_ns < ended_ns for each in executions),
            faults=self._new_faults(verdict),
        )

    def _new_faults(self, verdict: Verdict) -> list[str]:
        new = [fault for fault in verdict.faults if fault not in self._seen]
        self._seen.update(new)
        return new


def _failed(sent: Sent) -> bool:
    return sent.outcome is not Outcome.ACKNOWLEDGED


def _took_ms(sent: Sent) -> int:
    return (sent.ended_ns - sent.begun_ns) // 1_000_000


def _newest(names: Iterable[str], pod: str) -> str:
    """Names begin with the pod's and the moment of the container's start."""
    of_pod = [name for name in names if name.rpartition(".")[0] == pod]
    return max(of_pod, key=_started_ns, default="")


def _started_ns(name: str) -> int:
    return int(name.rpartition(".")[2].partition("-")[0])
