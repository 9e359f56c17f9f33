"""What a run has found: figures that add up over runs, as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from statistics import median
from typing import Any, Final, Self

from tests.process.chaos import pauses
from tests.process.chaos.judge import FAULTS_TOLD_MAX, Fault, Tally

NOT_LINEARIZABLE: Final = "not-linearizable"
_BAD: Final = tuple(fault.value for fault in Fault)


@dataclass(slots=True)
class Report:
    """Counts only, so two reports make one."""

    seeds: list[int] = field(default_factory=list)
    seconds: float = 0.0
    messages: Counter[str] = field(default_factory=Counter)  # by what the sender was told
    reasons: Counter[str] = field(default_factory=Counter)
    executions: int = 0
    unknown_executed: int = 0
    thawed: int = 0
    epochs: int = 0
    held_back: int = 0  # not sent, since a client had too much in flight
    stalls_ms: int = 0  # the machine did not run the network and the load
    kv_operations: Counter[str] = field(default_factory=Counter)
    kv_keys: Counter[str] = field(default_factory=Counter)  # by the checker's verdict
    troubles: Counter[str] = field(default_factory=Counter)
    pauses: Counter[str] = field(default_factory=Counter)  # by the lower bound in ms
    unavailable_ms: Counter[str] = field(default_factory=Counter)  # by partition
    recovery_ms: list[int] = field(default_factory=list)  # from healed to all served, each time
    faults: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    @property
    def operations(self) -> int:
        """Everything whose outcome was checked."""
        return self.messages.total() + self.kv_operations.total()

    @property
    def bad(self) -> int:
        """What must be 0."""
        return self.faults.total() + self.kv_keys[NOT_LINEARIZABLE]

    def add(self, other: Report) -> None:
        """Count another run, too."""
        for each in fields(self):
            value = getattr(other, each.name)
            if isinstance(value, Counter):
                getattr(self, each.name).update(value)
            else:
                setattr(self, each.name, getattr(self, each.name) + value)
        del self.told[FAULTS_TOLD_MAX:]

    def add_tally(self, tally: Tally) -> None:
        """Count what a judge has found."""
        self.messages.update({kind.value: count for kind, count in tally.outcomes.items()})
        self.reasons.update(tally.reasons)
        self.executions += tally.stays
        self.unknown_executed += tally.unknown_executed
        self.thawed += tally.thawed
        self.epochs += tally.epochs
        self.faults.update({fault.value: count for fault, count in tally.faults.items()})
        self.told += tally.told

    def add_pauses(self, found: Iterable[tuple[int, float]]) -> None:
        """Count pauses: of which partition, how long in ms."""
        pauses_found = list(found)
        counted = pauses.histogram(ms for _, ms in pauses_found)
        self.pauses.update({str(bound): count for bound, count in counted.items()})
        for partition, ms in pauses_found:
            self.unavailable_ms[str(partition)] += round(ms)

    def as_json(self) -> str:
        """Everything, with the sums that people look for first."""
        counts = {each.name: getattr(self, each.name) for each in fields(self)}
        document = {"operations": self.operations, "bad": self.bad, **counts}
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `as_json` gave."""
        document: dict[str, Any] = json.loads(text)
        report = cls()
        for each in fields(cls):
            value = document[each.name]
            setattr(report, each.name, Counter(value) if isinstance(value, dict) else value)
        return report

    def __str__(self) -> str:
        """For people."""
        head = f"{self.operations:,} operations checked in {self.seconds:,.0f} s"
        sections = [
            (f"{head}, seeds {', '.join(map(str, self.seeds))}", []),
            ("messages", _lines(self.messages) + self._of_messages()),
            ("refused and unknown, by reason", _lines(self.reasons)),
            ("key-value operations", _lines(self.kv_operations)),
            ("histories of keys", _lines(self.kv_keys)),
            (f"{self.troubles.total()} troubles", _lines(self.troubles)),
            ("pauses of a partition", self._of_pauses()),
            (f"{self.bad} violations", _lines({**dict.fromkeys(_BAD, 0), **self.faults})),
            ("", [f"  {line}" for line in self.told]),
        ]
        return "\n".join(line for head, lines in sections for line in (head, *lines) if line)

    def _of_messages(self) -> list[str]:
        return _lines(
            {
                "executions": self.executions,
                "of unknown outcome, executed": self.unknown_executed,
                "finished late by a frozen worker": self.thawed,
                "epochs": self.epochs,
                "held back by a full client": self.held_back,
                "ms in which load and network stood still": self.stalls_ms,
            }
        )

    def _of_pauses(self) -> list[str]:
        lines = pauses.told(Counter({int(bound): n for bound, n in self.pauses.items()}))
        if self.unavailable_ms and self.seconds:
            shares = [ms / self.seconds / 10 for ms in self.unavailable_ms.values()]
            low, high = min(shares), max(shares)
            lines.append(f"  unavailable by partition: {low:.2f} to {high:.2f} % of the time")
            lines.append(f"  median of them: {median(shares):.2f} %")
        if self.recovery_ms:
            middle, longest = median(self.recovery_ms), max(self.recovery_ms)
            lines.append(f"  all served after healing: median {middle:.0f} ms, max {longest} ms")
        return lines


def _lines(counted: Counter[str] | dict[str, int]) -> list[str]:
    return [f"  {count:>12,}  {name}" for name, count in counted.items()]
