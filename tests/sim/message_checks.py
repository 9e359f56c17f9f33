"""What clients were told against what was done: G3, and the order of G4."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from parti_shard.batches import ForwardBatch, SendBatch
from parti_shard.errors import Executed, Failure

if TYPE_CHECKING:
    from tests.sim.process import Process


@dataclass
class Sent:
    """One message of a client."""

    partition: int
    idempotent: bool
    origin: str = ""  # the run of the member that it entered at
    order: int = 0  # in which it entered there
    admissions: list[tuple[str, int]] = field(default_factory=list)  # by whom, epoch
    executions: list[tuple[str, int]] = field(default_factory=list)
    outcome: str = ""  # nothing, what the client was told, or "gone" with its client
    executed: Executed = Executed.UNKNOWN
    again: bool = False  # sent once more, because what became of it was not known

    def story(self) -> str:
        return (
            f"partition {self.partition} from {self.origin or 'nowhere'} as {self.order}:"
            f" admitted {self.admissions}, executed {self.executions}, told {self.outcome!r}"
        )


class MessageChecks:
    """All messages of one run, by their payload, which is unique."""

    def __init__(self) -> None:
        self.sent: dict[bytes, Sent] = {}
        self.outcomes: Counter[str] = Counter()
        self._entered = 0
        self._last_run: dict[tuple[str, int, int], int] = {}
        self._last_order: dict[tuple[str, int], tuple[int, bytes]] = {}

    def send(self, uid: bytes, partition: int, *, idempotent: bool) -> None:
        self.sent[uid] = Sent(partition, idempotent)

    def entered(self, process: Process, batch: SendBatch) -> None:
        """A frame of a client reaches its origin: this is the order of G4."""
        for uid in batch.payloads:
            message = self.sent[uid]
            assert not message.origin, f"{uid!r} entered twice"
            self._entered += 1
            message.origin, message.order = process.name, self._entered

    def sent_again(self, uid: bytes) -> None:
        """An idempotent one leaves its origin anew: those that came with it may have run."""
        self.sent[uid].again = True

    def admitted(self, process: Process, batch: ForwardBatch, *, overtime: bool) -> None:
        """In overtime (mode available) a message may come after later ones to the next owner."""
        rows = zip(batch.payloads, batch.partitions, batch.epochs, strict=True)
        for uid, partition, epoch in rows:
            message = self.sent[uid]
            assert message.partition == partition, f"{uid!r} at the wrong partition {partition}"
            assert message.executed is not Executed.NO or message.outcome in ("", "gone"), (
                f"{uid!r} is admitted after its outcome: {message.story()}"
            )
            if not message.admissions and not overtime and not message.again:
                self._in_order(uid, message)
            message.admissions.append((process.name, epoch))

    def _in_order(self, uid: bytes, message: Sent) -> None:
        lane = message.origin, message.partition
        last, other = self._last_order.get(lane, (0, b""))
        assert message.order > last, (
            f"{uid!r} is delivered after {other!r}:\n  {message.story()}\n"
            f"  {self.sent[other].story()}"
        )
        self._last_order[lane] = message.order, uid

    def executed(self, where: str, uid: bytes, epoch: int) -> None:
        message = self.sent[uid]
        if not message.executions and not message.again:
            self._runs_in_order(uid, message, epoch)
        message.executions.append((where, epoch))
        assert len(message.executions) == 1 or message.idempotent, f"{uid!r} ran {message.story()}"
        told_no = message.outcome not in ("", "gone") and message.executed is Executed.NO
        assert not told_no, f"{uid!r} runs after it was refused: {message.story()}"

    def _runs_in_order(self, uid: bytes, message: Sent, epoch: int) -> None:
        """Within an epoch; under an older one a frozen worker may finish what it had begun."""
        lane = message.origin, message.partition, epoch
        last = self._last_run.get(lane, 0)
        assert message.order > last, f"{uid!r} runs out of order: {message.story()}"
        self._last_run[lane] = message.order

    def answered(self, uid: bytes, epoch: int, failure: Failure | None) -> None:
        message = self.sent[uid]
        assert not message.outcome, f"{uid!r} has two outcomes: {message.story()}"
        executed = Executed.YES if failure is None else failure.executed
        text = "OK" if failure is None else f"{failure.reason.name}/{executed.name}"
        message.outcome, message.executed = text, executed
        self.outcomes[text] += 1
        if executed is Executed.YES:
            epochs = [ran_under for _, ran_under in message.executions]
            assert epoch in epochs, f"{uid!r} acknowledged under epoch {epoch}: {message.story()}"
        elif executed is Executed.NO:
            assert not message.executions, f"{uid!r} refused, but ran: {message.story()}"

    def abandoned(self, uid: bytes) -> None:
        """Its client is gone, or knows no more of it."""
        message = self.sent[uid]
        if not message.outcome:
            message.outcome = "gone"
            self.outcomes["gone"] += 1
