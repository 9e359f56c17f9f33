"""Judges what happened: the senders' view of every message against the workers' notes.

What must hold, whatever was killed, paused, moved or restarted meanwhile:

- G1: no two executions of a partition overlap.
- G2: the epochs of a partition never go back in the order of entries, and another worker process
  always means a higher epoch.
- G3: an acknowledged message was executed under the epoch its reply names; a refused one was not
  executed; only idempotent messages were executed more than once.
- G4: messages of one sender and one partition were entered in the order they were sent, as far as
  the sender asked for it (the SDK's own retries change places).

Two rules about processes that were not in the position to note an exit:

- A killed or crashed worker was inside until the moment it was seen to be dead.
- A worker that was frozen (SIGSTOP) in the middle of a handler finishes late, and nobody can stop
  it from that: that is what the epoch is for. Such executions are left out of G1, G2 and G4, but
  listed as `thawed`, and what G3 says holds for them too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from examples.demo.recorder import Stay, faults
from tests.process.recorder import Execution

FAULTS_SHOWN_MAX = 10


class Outcome(StrEnum):
    """What the sender was told."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"  # certainly not executed
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sent:
    """One message, as its sender knows it."""

    message: str
    sender: str
    number: int  # rises in the order of sending, per sender
    outcome: Outcome
    reason: str = "OK"
    epoch: int = 0
    idempotent: bool = False
    in_order: bool = True
    begun_ns: int = 0
    ended_ns: int = 0


@dataclass(frozen=True, slots=True)
class Freeze:
    """A worker process that could do nothing for a while."""

    worker: str
    from_ns: int
    until_ns: int


@dataclass(slots=True)
class Verdict:
    """What was found, and how much was looked at."""

    faults: list[str] = field(default_factory=list)
    thawed: list[Execution] = field(default_factory=list)
    executions: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    changes_of_epoch: int = 0

    def __str__(self) -> str:
        told = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items())
        lines = [f"{self.executions} executions, {self.changes_of_epoch} new epochs; {told}"]
        lines += [f"{reason}: {count}" for reason, count in self.reasons.items()]
        lines += self.faults[:FAULTS_SHOWN_MAX]
        lines += [f"... {len(self.faults)} faults"] if self.faults else []
        return "\n".join(lines)


def judge(
    executions: Sequence[Execution],
    sent: Sequence[Sent],
    *,
    now_ns: int,
    ended_ns: Mapping[str, int] | None = None,
    freezes: Iterable[Freeze] = (),
) -> Verdict:
    """Check everything. `ended_ns`: when killed workers were seen dead; others live `now_ns`."""
    frozen = [_is_inside(execution, freezes) for execution in executions]
    free = [each for each, is_frozen in zip(executions, frozen, strict=True) if not is_frozen]
    verdict = Verdict(executions=len(executions))
    verdict.thawed = [each for each, is_frozen in zip(executions, frozen, strict=True) if is_frozen]
    verdict.outcomes.update(each.outcome for each in sent)
    verdict.reasons.update(each.reason for each in sent if each.reason != "OK")
    verdict.changes_of_epoch = len({(each.partition, each.epoch) for each in executions})
    ends = ended_ns or {}
    stays = [_stay(each, ends.get(each.worker, now_ns)) for each in free]
    verdict.faults += faults(stays)
    verdict.faults += _lies(executions, sent)
    verdict.faults += _out_of_order(free, sent)
    return verdict


def _is_inside(execution: Execution, freezes: Iterable[Freeze]) -> bool:
    """Whether its worker was frozen while the message was in the handler."""
    return any(
        freeze.worker == execution.worker
        and execution.enter_ns < freeze.until_ns
        and (execution.exit_ns is None or execution.exit_ns > freeze.from_ns)
        for freeze in freezes
    )


def _stay(execution: Execution, end_ns: int) -> Stay:
    exit_ns = end_ns if execution.exit_ns is None else execution.exit_ns
    return Stay(execution.worker, execution.partition, execution.epoch, execution.enter_ns, exit_ns)


def _lies(executions: Iterable[Execution], sent: Iterable[Sent]) -> Iterator[str]:
    """What a sender was told and is not so."""
    epochs: dict[str, list[int]] = {}
    for execution in executions:
        epochs.setdefault(execution.message, []).append(execution.epoch)
    for each in sent:
        ran = epochs.get(each.message, [])
        if each.outcome is Outcome.ACKNOWLEDGED and each.epoch not in ran:
            yield f"{each.message}: acknowledged under epoch {each.epoch}, executed under {ran}"
        if each.outcome is Outcome.REFUSED and ran:
            yield f"{each.message}: refused ({each.reason}), but executed under {ran}"
        if len(ran) > 1 and not each.idempotent:
            yield f"{each.message}: not idempotent, but executed under {ran}"


def _out_of_order(executions: Iterable[Execution], sent: Iterable[Sent]) -> Iterator[str]:
    """Entries against the order of sending, per sender and partition."""
    ordered = {each.message: each for each in sent if each.in_order and not each.idempotent}
    last: dict[tuple[str, int], Sent] = {}
    for execution in sorted(executions, key=lambda each: each.enter_ns):
        each = ordered.get(execution.message)
        if each is None:
            continue
        lane = (each.sender, execution.partition)
        earlier = last.get(lane)
        if earlier is not None and earlier.number > each.number:
            yield f"{each.message} entered partition {lane[1]} after {earlier.message}"
        last[lane] = each
