"""Every interleaving of a small group: three members, few elections, proposals, crashes, repeats.

The search visits every state that the real core can reach within the bounds. Messages overtake one
another freely; one that is never delivered is lost, so losses need no bound. A write to the disk is
durable at any later moment or, at a crash, not at all. Time does not pass by itself: elections and
heartbeats happen at any moment, as far as the bounds let them.

What makes it affordable: what a member does depends on its own state and the event alone. So each
pair of the two runs the real code once; a state of the group is a few small numbers, and visited
states are remembered by a 64-bit hash.

Checked in every state: one leader per term, ever; a leader holds everything that was committed in
earlier terms; what is committed stays so, is the same everywhere and is on most disks; equal terms
at an index mean equal logs up to it; each member's own invariants.
"""

# ruff: noqa: T201 - a program that prints
from __future__ import annotations

import argparse
import pickle
import sys
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from parti_raft import (
    Config,
    ConfState,
    Entry,
    HardState,
    LogIndex,
    MemberId,
    MemoryLog,
    Message,
    RawNode,
    Role,
    Snapshot,
    Term,
)
from parti_raft.types import APPEND_THREAD, APPLY_THREAD

MEMBERS: Final = (1, 2, 3)
BOOT: Final = 1  # index and term of the snapshot that members boot from
FOREVER_TICKS: Final = 1 << 20
_SAME_FOR_ALL: Final = frozenset({"config", "storage", "_storage", "id"})

Log = tuple[tuple[int, bytes], ...]  # terms and data, from behind the boot index on
Event = tuple[int, str, int]  # position of a member, what happens to it, with which message


class ViolationError(AssertionError):
    """A state that must not be reachable, with the way to it."""

    def __init__(self, what: str, trace: Iterable[str]) -> None:
        super().__init__(f"{what}\nafter:\n  " + "\n  ".join(trace))


@dataclass(frozen=True)
class Bounds:
    """How much may happen in one run of the group."""

    elections: int = 2
    proposals: int = 1
    crashes: int = 0
    repeats: int = 0
    heartbeats: int = 0
    pre_vote: bool = False
    slow_disks: bool = True  # a write takes as long as it likes; otherwise no time at all


@dataclass
class Found:
    """What a search has seen."""

    states: int = 0
    steps: int = 0
    depth: int = 0
    runs: int = 0  # of real code
    member_states: int = 0
    commits: int = 0  # the longest committed log
    roles: Counter[str] = field(default_factory=Counter)


class Group(NamedTuple):
    """A state of the whole group; all numbers are names of things in `_Names`."""

    members: tuple[int, ...]
    network: tuple[tuple[int, int], ...]  # message, how many of it; sorted
    history: int
    left: tuple[int, ...]  # elections, proposals, crashes, repeats, heartbeats


class History(NamedTuple):
    """What must never be taken back."""

    leaders: tuple[tuple[int, int], ...]  # term, member
    committed: Log


class View(NamedTuple):
    """What the search looks at of one member."""

    term: int  # on its disk
    writes: bool  # some are on the way
    leads_term: int  # 0: it does not
    log: Log  # as it thinks that it is
    durable: Log
    commit: int  # how many of them are committed


class Step(NamedTuple):
    """What came of an event at one member."""

    member: int
    sent: tuple[int, ...]


@dataclass(slots=True)
class _Member:
    """A member, what it has on disk, and what is on the way there."""

    raw: RawNode
    log: MemoryLog
    writes: list[Message] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)


def _last(_low: int, high: int) -> int:
    return high


def _start(member: int, log: MemoryLog, bounds: Bounds) -> _Member:
    config = Config(
        id=MemberId(member),
        election_tick=FOREVER_TICKS,
        heartbeat_tick=1,
        applied=LogIndex(BOOT),
        async_storage_writes=True,
        pre_vote=bounds.pre_vote,
        check_quorum=False,  # its lease would keep elections away, for time does not pass here
        random_timeout=_last,
    )
    return _Member(RawNode(config, log), log)


def _boot(member: int, bounds: Bounds) -> _Member:
    log = MemoryLog()
    conf = ConfState(voters=tuple(MemberId(each) for each in MEMBERS))
    log.apply_snapshot(Snapshot(LogIndex(BOOT), Term(BOOT), conf))
    log.set_hard_state(HardState(Term(BOOT), commit=LogIndex(BOOT)))
    return _start(member, log, bounds)


# -- what one member does


def _work(member: _Member, *, slow_disks: bool) -> None:
    """Take its work until there is none: messages leave, writes wait, entries are applied."""
    raw = member.raw
    while raw.has_ready():
        for message in raw.ready().messages:
            if message.to == APPEND_THREAD:
                member.writes.append(message)
            elif message.to == APPLY_THREAD:
                for response in message.responses:
                    raw.step(response)
            else:
                member.sent.append(message)
        while member.writes and (not slow_disks or not _writes_something(member, member.writes[0])):
            _write(member)


def _writes_something(member: _Member, write: Message) -> bool:
    """Whether the disk has to confirm it; a commit index alone is no promise."""
    state, _ = member.log.initial_state()
    voted = write.term and (write.term, write.vote) != (state.term, state.vote)
    return bool(write.entries or write.snapshot or voted)


def _write(member: _Member) -> None:
    """The oldest write is durable."""
    write = member.writes.pop(0)
    if write.term or write.vote or write.commit:
        member.log.set_hard_state(HardState(write.term, write.vote, write.commit))
    member.log.append(write.entries)
    for response in write.responses:
        if response.to == member.raw.id:
            member.raw.step(response)
        else:
            member.sent.append(response)


def _stop_time(member: _Member) -> None:
    core = member.raw._core
    core.election_elapsed = core.heartbeat_elapsed = 0


def _view(member: _Member) -> View:
    core = member.raw._core
    log, first = core.log, BOOT + 1
    last = log.last_index()
    entries = log.slice(first, last + 1, 1 << 40) if last >= first else ()
    on_disk = member.log.entries(first, member.log.last_index() + 1, 1 << 40)
    return View(
        term=member.log.initial_state()[0].term,
        writes=bool(member.writes),
        leads_term=core.term if core.role is Role.LEADER else 0,
        log=tuple((entry.term, entry.data) for entry in entries),
        durable=tuple((entry.term, entry.data) for entry in on_disk),
        commit=log.committed - BOOT,
    )


def _frozen(value: Any) -> Hashable:
    """Everything of a member that may differ, as a value that compares and hashes."""
    if value is None or isinstance(value, int | bytes | str):
        return value
    if isinstance(value, dict):
        return tuple((key, _frozen(each)) for key, each in value.items())
    if isinstance(value, frozenset | set):
        return tuple(sorted(value))
    if isinstance(value, Entry):
        return (value.term, value.index, value.type, value.data)
    names = getattr(type(value), "__slots__", None) or getattr(value, "__dict__", None)
    if names is None:
        return tuple(_frozen(each) for each in value)
    return tuple(_frozen(getattr(value, name)) for name in names if name not in _SAME_FOR_ALL)


class _Names:
    """Gives each distinct thing a small number, the same one whenever it comes again."""

    def __init__(self) -> None:
        self.numbers: dict[Hashable, int] = {}
        self.things: list[Any] = []

    def number(self, key: Hashable, thing: object) -> int:
        number = self.numbers.setdefault(key, len(self.things))
        if number == len(self.things):
            self.things.append(thing)
        return number


# -- the search


class Search:
    """See the module's docstring."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.found = Found()
        self._states = _Names()  # of members: their pickles
        self._views: dict[int, View] = {}
        self._messages = _Names()
        self._histories = _Names()
        self._steps: dict[tuple[int, str, int], Step] = {}
        self._trace: list[Event] = []

    def run(self) -> Found:
        """Visit everything, depth first. Raises ViolationError."""
        seen: set[int] = set()
        first = self._first()
        seen.add(hash(first))
        path: list[Iterator[tuple[Event, Group]]] = [self._next(first)]
        found = self.found
        while path:
            following = next(path[-1], None)
            if following is None:
                path.pop()
                if self._trace:
                    self._trace.pop()
                continue
            event, group = following
            found.steps += 1
            group = self._without_stale(group)
            digest = hash(group)
            if digest in seen:
                continue
            seen.add(digest)
            self._trace.append(event)
            group = self._checked(group)
            path.append(self._next(group))
            found.depth = max(found.depth, len(path))
        found.states = len(seen)
        found.member_states = len(self._states.things)
        return found

    def _first(self) -> Group:
        bounds = self.bounds
        members = tuple(self._keep(_boot(member, bounds)) for member in MEMBERS)
        history = History((), ())
        left = (
            bounds.elections,
            bounds.proposals,
            bounds.crashes,
            bounds.repeats,
            bounds.heartbeats,
        )
        return Group(members, (), self._histories.number(history, history), left)

    def _next(self, group: Group) -> Iterator[tuple[Event, Group]]:
        """Everything that may happen now."""
        for message, count in group.network:
            yield from self._deliveries(group, message, count)
        elections, proposals, crashes, _, heartbeats = group.left
        first = elections == self.bounds.elections
        for position, state in enumerate(group.members):
            view = self._views[state]
            if view.writes:
                yield self._event(group, position, "writes")
            if elections and not view.leads_term and not (first and position):
                yield self._event(_spend(group, 0), position, "campaigns")
            if proposals and view.leads_term:
                yield self._event(_spend(group, 1), position, "proposes", proposals)
            if crashes:
                yield self._event(_spend(group, 2), position, "crashes")
            if heartbeats and view.leads_term:
                yield self._event(_spend(group, 4), position, "beats")

    def _deliveries(self, group: Group, number: int, count: int) -> Iterator[tuple[Event, Group]]:
        message: Message = self._messages.things[number]
        position = MEMBERS.index(message.to)
        network = dict(group.network)
        if count > 1:
            network[number] = count - 1
        else:
            del network[number]
        taken = group._replace(network=tuple(sorted(network.items())))
        yield self._event(taken, position, "hears", number)
        if group.left[3]:
            yield self._event(_spend(group, 3), position, "hears", number)

    def _without_stale(self, group: Group) -> Group:
        """Whoever has a later term on disk ignores a message for ever, crashes included."""
        if self.bounds.pre_vote or not group.network:
            return group
        terms = [self._views[state].term for state in group.members]
        messages = self._messages.things
        network = tuple(
            pair
            for pair in group.network
            if messages[pair[0]].term >= terms[messages[pair[0]].to - 1]
        )
        return group if len(network) == len(group.network) else group._replace(network=network)

    def _event(self, group: Group, position: int, what: str, which: int = 0) -> tuple[Event, Group]:
        key = group.members[position], what, which
        step = self._steps.get(key)
        if step is None:
            step = self._steps[key] = self._run(*key)
        members = list(group.members)
        members[position] = step.member
        network = group.network
        if step.sent:
            counts = dict(network)
            for number in step.sent:
                counts[number] = counts.get(number, 0) + 1
            network = tuple(sorted(counts.items()))
        return (position, what, which), group._replace(members=tuple(members), network=network)

    def _run(self, state: int, what: str, which: int) -> Step:
        """The real code."""
        self.found.runs += 1
        member: _Member = pickle.loads(self._states.things[state])
        try:
            member = self._happen(member, what, which)
            _work(member, slow_disks=self.bounds.slow_disks)
            _stop_time(member)
            member.raw.check_invariants()
        except ViolationError:
            raise
        except Exception as error:
            text = f"{member.raw.id} {what}: {type(error).__name__}: {error}"
            raise ViolationError(text, self._told()) from error
        sent, member.sent = member.sent, []
        numbers = tuple(self._messages.number(_frozen(message), message) for message in sent)
        return Step(self._keep(member), numbers)

    def _happen(self, member: _Member, what: str, which: int) -> _Member:
        raw = member.raw
        if what == "hears":
            message: Message = self._messages.things[which]
            raw.step(replace(message))
        elif what == "writes":
            _write(member)
        elif what == "campaigns":
            raw.campaign()
        elif what == "proposes":
            raw.propose(b"%d" % which)
        elif what == "beats":
            raw.tick()
        else:
            member = _start(raw.id, member.log, self.bounds)
        return member

    def _keep(self, member: _Member) -> int:
        number = self._states.number((member.raw.id, _frozen(member)), pickle.dumps(member))
        if number not in self._views:
            self._views[number] = _view(member)
            self.found.roles[Role(member.raw.role).name] += 1
        return number

    # -- checks

    def _checked(self, group: Group) -> Group:
        """The group with its history brought up to date; raises ViolationError."""
        history: History = self._histories.things[group.history]
        views = [self._views[state] for state in group.members]
        leaders, committed = dict(history.leaders), history.committed
        for member, view in zip(MEMBERS, views, strict=True):
            both = min(len(committed), view.commit)
            if view.log[:both] != committed[:both]:
                self._fail(f"{member} has committed {view.log[:both]}, others {committed}")
            if view.commit > len(committed):
                committed = view.log[: view.commit]
            term = view.leads_term
            if term and leaders.setdefault(term, member) != member:
                self._fail(f"{member} and {leaders[term]} lead in term {term}")
        self._check_logs(views, committed)
        history = History(tuple(sorted(leaders.items())), committed)
        self.found.commits = max(self.found.commits, len(committed))
        return group._replace(history=self._histories.number(history, history))

    def _check_logs(self, views: list[View], committed: Log) -> None:
        holders = sum(view.durable[: len(committed)] == committed for view in views)
        if holders <= len(views) // 2:
            self._fail(f"{holders} disks hold {committed}, which is committed")
        for view in views:
            term = view.leads_term
            earlier = [entry for entry in committed if entry[0] < term]
            if term and list(view.log[: len(earlier)]) != earlier:
                self._fail(f"the leader of term {term} holds {view.log}, committed: {committed}")
        for one, other in ((0, 1), (0, 2), (1, 2)):
            a, b = views[one].log, views[other].log
            for length in range(min(len(a), len(b)), 0, -1):
                if a[length - 1][0] == b[length - 1][0]:
                    if a[:length] != b[:length]:
                        self._fail(f"logs {a} and {b} agree at {length}, not before")
                    break

    def _fail(self, what: str) -> None:
        raise ViolationError(what, self._told())

    def _told(self) -> Iterator[str]:
        for position, what, which in self._trace:
            message = f" {self._messages.things[which]}" if what == "hears" else ""
            yield f"{MEMBERS[position]} {what}{message}"


def _spend(group: Group, which: int) -> Group:
    left = list(group.left)
    left[which] -= 1
    return group._replace(left=tuple(left))


# Each set bounds something else generously; all at once would never end.
SMALL: Final = (
    Bounds(elections=2, proposals=0, repeats=1, slow_disks=False),
    Bounds(elections=2, proposals=0, crashes=1, slow_disks=False),
    Bounds(elections=1, proposals=1),
)
LARGE: Final = (
    *SMALL,
    Bounds(elections=2, proposals=0),
    Bounds(elections=2, proposals=1, slow_disks=False),
    Bounds(elections=2, proposals=0, pre_vote=True, slow_disks=False),
    Bounds(elections=2, proposals=0, crashes=1),
    Bounds(elections=2, proposals=0, crashes=1, repeats=1, heartbeats=1, slow_disks=False),
    Bounds(elections=4, proposals=0, slow_disks=False),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parti_raft.exhaustive")
    parser.add_argument("--large", action="store_true", help="minutes, and gigabytes of memory")
    options = parser.parse_args()
    states = 0
    for bounds in LARGE if options.large else SMALL:
        begun = time.perf_counter()
        found = Search(bounds).run()
        states += found.states
        seconds = time.perf_counter() - begun
        print(f"{bounds}: {seconds:.1f} s\n  {found}", flush=True)
    print(f"{states} distinct states of the group, no violation")
    return 0


if __name__ == "__main__":
    sys.exit(main())
