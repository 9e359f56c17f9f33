"""What one member counts of the requests to the store that were made at it.

A batch is counted as a whole when its fate is known, so an operation costs one step of a counter.
Requests are counted where they entered: the sum over all members is every request of the cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from parti_kv.commands import Op
from parti_kv.values import Status
from parti_shard.errors import Executed, Failure, Reason


class Kind(IntEnum):
    """What was asked for; writes have the number of their operation."""

    PUT = Op.PUT
    DELETE = Op.DELETE
    TXN = Op.TXN
    ACQUIRE = Op.ACQUIRE
    RELEASE = Op.RELEASE
    OPEN_SESSION = 16
    CLOSE_SESSION = 17
    KEEP_ALIVE = 18
    READ = 19
    STALE_READ = 20


@dataclass(slots=True)
class KvStats:
    """Counters since the start."""

    repeated: int = 0  # batches proposed again because no answer came
    handed_over: int = 0  # batches given to a leader that is another member
    answered: Counter[tuple[int, int]] = field(default_factory=Counter)  # by kind and status
    failed: Counter[tuple[int, Reason, Executed]] = field(default_factory=Counter)

    def answer(self, kinds: Sequence[int], statuses: Sequence[int]) -> None:
        """The operations of a batch have these answers."""
        self.answered.update(zip(kinds, statuses, strict=True))

    def succeed(self, kind: Kind, count: int) -> None:
        """So many requests got what they asked for."""
        self.answered[kind, Status.OK] += count

    def fail(self, kinds: Sequence[int], failure: Failure) -> None:
        """The operations of a batch have failed together."""
        for kind, count in Counter(kinds).items():
            self.failed[kind, failure.reason, failure.executed] += count

    def by_outcome(self) -> Counter[tuple[str, str]]:
        """Requests by kind and outcome: the status of what was done, `refused` or `unknown`."""
        counts: Counter[tuple[str, str]] = Counter()
        for (kind, status), count in self.answered.items():
            outcome = "refused" if Status(status).refused else Status(status).name.lower()
            counts[Kind(kind).name.lower(), outcome] += count
        for (kind, _, executed), count in self.failed.items():
            outcome = "refused" if executed is Executed.NO else "unknown"
            counts[Kind(kind).name.lower(), outcome] += count
        return counts

    def refused_by_reason(self) -> Counter[str]:
        """Requests that certainly changed nothing, by why."""
        counts: Counter[str] = Counter()
        for (_, status), count in self.answered.items():
            if Status(status).refused:
                counts[Status(status).name.lower()] += count
        for (_, reason, executed), count in self.failed.items():
            if executed is Executed.NO:
                counts[reason.name.lower()] += count
        return counts
