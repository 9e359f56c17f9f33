"""Judges millions of messages, a window at a time: the rules of `tests.process.history`.

A window is what happened between two moments of rest: every message sent in it has an outcome. The
notes of all workers are read at its end. What later windows need of earlier ones is kept small: a
byte for each message, the last stays of each partition, the last number of each lane.

- overlap: two stays in a partition at once.
- regression: the epoch of a partition went back, or did not rise with a new worker process.
- lost: acknowledged, but not executed under the epoch that the reply names.
- lie: refused as not executed, but executed.
- repeat: executed twice and not idempotent.
- disorder: of one sender and one partition, a later message entered first. The sender must have
  asked for it: the SDK's own retries change places.

A killed worker was inside until it was seen dead. A worker that was frozen inside a handler
finishes late, and nobody can stop it from that: such *thawed* stays are counted, held to what their
senders were told, and excused from the rest. That is what the epoch is for.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from tests.process.chaos.notes import Stay
from tests.process.history import Freeze, Outcome

FAULTS_TOLD_MAX: Final = 20
STORY_STAYS: Final = 4

_REFUSED: Final = 1
_IDEMPOTENT: Final = 2
_EXECUTED: Final = 4

_SENDER_SHIFT: Final = 32
_NUMBER_MASK: Final = (1 << _SENDER_SHIFT) - 1


class Fault(StrEnum):
    """What must never happen."""

    OVERLAP = "overlap"
    REGRESSION = "epoch regression"
    LOST = "lost acknowledged"
    LIE = "refused but executed"
    REPEAT = "executed twice"
    DISORDER = "order break"


class Sent(NamedTuple):
    """One message, as its sender knows it."""

    message: int
    outcome: Outcome
    epoch: int
    reason: str
    idempotent: bool


@dataclass(frozen=True, slots=True)
class Window:
    """Everything that happened between two moments of rest."""

    stays: Sequence[Stay]  # in the order of entry
    sent: Sequence[Sent]
    now_ns: int
    ended_ns: Mapping[str, int] = field(default_factory=dict)  # of killed workers
    freezes: Sequence[Freeze] = ()


@dataclass(slots=True)
class Tally:
    """What was found so far, and how much was looked at."""

    faults: Counter[Fault] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)  # the first faults, with what went before
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    stays: int = 0
    thawed: int = 0
    unknown_executed: int = 0
    epochs: int = 0


def message_of(sender: int, number: int) -> int:
    """The name of a message: unique in a run, rising with the number."""
    return sender << _SENDER_SHIFT | number


@dataclass(slots=True)
class _Partition:
    """What is remembered of a partition."""

    epoch: int = 0
    worker: str = ""
    inside_until_ns: int = 0
    inside: Stay | None = None
    story: deque[Stay] = field(default_factory=lambda: deque(maxlen=STORY_STAYS))


class Judge:
    """Everything that is known of one run. `ordered` are the senders that asked for order."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.ordered: set[int] = set()
        self._messages: defaultdict[int, bytearray] = defaultdict(bytearray)  # by sender
        self._partitions: defaultdict[int, _Partition] = defaultdict(_Partition)
        self._lanes: dict[tuple[int, int], int] = {}

    def judge(self, window: Window) -> None:
        """Look at one window."""
        for sent in window.sent:
            self._note_outcome(sent)
        freezes: defaultdict[str, list[Freeze]] = defaultdict(list)
        for freeze in window.freezes:
            freezes[freeze.worker].append(freeze)
        epochs: defaultdict[int, list[int]] = defaultdict(list)
        for stay in window.stays:
            self._note_execution(stay)
            epochs[stay.message].append(stay.epoch)
            exit_ns = stay.exit_ns or window.ended_ns.get(stay.worker, window.now_ns)
            if _is_inside(freezes[stay.worker], stay.enter_ns, exit_ns):
                self.tally.thawed += 1
                continue
            self._check_owner(stay, exit_ns)
            self._check_order(stay)
        for sent in window.sent:
            self._check_answer(sent, epochs.get(sent.message, ()))

    def _note_outcome(self, sent: Sent) -> None:
        self.tally.outcomes[sent.outcome] += 1
        if sent.reason:
            self.tally.reasons[sent.reason] += 1
        flags, number = self._flags(sent.message)
        if sent.idempotent:
            flags[number] |= _IDEMPOTENT
        if sent.outcome is Outcome.REFUSED:
            flags[number] |= _REFUSED
            if flags[number] & _EXECUTED:
                self._fault(Fault.LIE, f"{_name(sent.message)}: {sent.reason}")

    def _note_execution(self, stay: Stay) -> None:
        self.tally.stays += 1
        flags, number = self._flags(stay.message)
        known = flags[number]
        if known & _EXECUTED and not known & _IDEMPOTENT:
            self._fault(Fault.REPEAT, _story([stay]))
        if known & _REFUSED:
            self._fault(Fault.LIE, _story([stay]))
        flags[number] = known | _EXECUTED

    def _check_answer(self, sent: Sent, epochs: Sequence[int]) -> None:
        if sent.outcome is Outcome.ACKNOWLEDGED and sent.epoch not in epochs:
            text = f"{_name(sent.message)}: under epoch {sent.epoch}, executed under {epochs}"
            self._fault(Fault.LOST, text)
        elif sent.outcome is Outcome.UNKNOWN and epochs:
            self.tally.unknown_executed += 1

    def _check_owner(self, stay: Stay, exit_ns: int) -> None:
        known = self._partitions[stay.partition]
        if known.inside is not None and stay.enter_ns < known.inside_until_ns:
            late_ms = (known.inside_until_ns - stay.enter_ns) / 1e6
            text = f"by {late_ms:.3f} ms: {_story([known.inside, *known.story, stay])}"
            self._fault(Fault.OVERLAP, text)
        renewed = stay.worker != known.worker
        if stay.epoch < known.epoch or (renewed and stay.epoch == known.epoch):
            self._fault(Fault.REGRESSION, _story([*known.story, stay]))
        self.tally.epochs += stay.epoch != known.epoch
        known.epoch, known.worker = stay.epoch, stay.worker
        if exit_ns >= known.inside_until_ns:
            known.inside_until_ns, known.inside = exit_ns, stay
        known.story.append(stay)

    def _check_order(self, stay: Stay) -> None:
        sender, number = stay.message >> _SENDER_SHIFT, stay.message & _NUMBER_MASK
        if sender not in self.ordered:
            return
        lane = (sender, stay.partition)
        last = self._lanes.get(lane, -1)
        if last > number:
            text = f"{_name(stay.message)} after {sender}:{last} in partition {stay.partition}"
            self._fault(Fault.DISORDER, text)
        self._lanes[lane] = number

    def _flags(self, message: int) -> tuple[bytearray, int]:
        flags, number = self._messages[message >> _SENDER_SHIFT], message & _NUMBER_MASK
        if len(flags) <= number:
            flags.extend(bytes(max(number + 1 - len(flags), len(flags) // 2)))
        return flags, number

    def _fault(self, fault: Fault, text: str) -> None:
        self.tally.faults[fault] += 1
        if len(self.tally.told) < FAULTS_TOLD_MAX:
            self.tally.told.append(f"{fault}: {text}")


def _is_inside(freezes: Iterable[Freeze], enter_ns: int, exit_ns: int) -> bool:
    return any(enter_ns < freeze.until_ns and exit_ns > freeze.from_ns for freeze in freezes)


def _name(message: int) -> str:
    return f"{message >> _SENDER_SHIFT}:{message & _NUMBER_MASK}"


def _story(stays: Iterable[Stay]) -> str:
    return "; ".join(
        f"{_name(stay.message)} in partition {stay.partition} of {stay.worker} under epoch "
        f"{stay.epoch} at {stay.enter_ns / 1e6:.3f}..{stay.exit_ns / 1e6:.3f}"
        for stay in stays
    )
