"""What must hold of consensus, whatever happens: checked while it happens.

Election safety; one vote per term and member; acknowledged appends are on disk; the same entry at
each index everywhere, for ever; a leader's log holds what was committed before; terms and commit
indexes never fall. `Canon` is the one true log: the first to apply an entry writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Final

from parti_kv.store import KvStore
from parti_raft.confchange import ConfChange
from parti_raft.replica_values import StateMachine
from parti_raft.types import ConfState, LogIndex, MemberId, MessageType, Role, Term
from parti_shard.cluster_machine import ClusterMachine
from parti_shard.member import Member
from parti_shard.table import Table

if TYPE_CHECKING:
    from tests.sim.process import Process

# version, type, flags, to, sender, term, log_term, index
_HEAD: Final = Struct("<BBBQQQQQ")
_REJECT: Final = 1


class Canon:
    """The committed log as it was first applied, and the table and store that it makes."""

    def __init__(self, index: LogIndex, snapshot: bytes) -> None:
        self.table = Table.empty()
        self.store = KvStore()
        self.machine = ClusterMachine(self.table, self.store, origin=0)
        self.machine.restore(index, snapshot)
        self.table.take_changed()
        self.last = int(index)
        self.snapshots: dict[int, bytes] = {self.last: self.machine.snapshot()}
        self._entries: dict[int, object] = {}

    def holds(self, index: int, entry: object) -> bool:
        """Whether the entry is known; it must then be the same."""
        known = self._entries.get(index)
        if known is None:
            assert index == self.last + 1, f"index {index} applied first, after {self.last}"
            self._entries[index] = entry
            self.last = index
            return False
        assert known == entry, f"two entries at index {index}:\n  {known!r}\n  {entry!r}"
        return True

    def snapshot_at(self, index: int, data: bytes) -> None:
        """State made of the same entries is the same state."""
        known = self.snapshots.setdefault(index, data)
        assert known == data, f"two states at index {index}"


class WatchedMachine:
    """A member's state machine, compared with the canon at every step."""

    def __init__(
        self, inner: StateMachine, canon: Canon, first_applied: Callable[[Table, int], None]
    ) -> None:
        self._inner = inner
        self._canon = canon
        self._first_applied = first_applied
        self._index = 0

    def apply(self, index: LogIndex, commands: Sequence[bytes]) -> Sequence[object]:
        values = self._inner.apply(index, commands)
        self._index = index
        canon = self._canon
        if not canon.holds(index, tuple(commands)):
            expected = canon.machine.apply(index, commands)
            assert list(values) == list(expected), f"index {index} has other outcomes here"
            canon.store.check_invariants()
            self._first_applied(canon.table, index)
        return values

    def configured(self, index: LogIndex, change: ConfChange, conf: ConfState) -> None:
        self._inner.configured(index, change, conf)
        self._index = index
        if not self._canon.holds(index, repr((change, conf))):
            self._canon.machine.configured(index, change, conf)
            self._first_applied(self._canon.table, index)

    def freeze(self) -> Iterator[bytes]:
        return self._checked(self._index, self._inner.freeze())

    def _checked(self, index: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """What was frozen is the state of that index, whatever is applied before it is taken."""
        taken: list[bytes] = []
        for chunk in chunks:
            taken.append(chunk)
            yield chunk
        self._canon.snapshot_at(index, b"".join(taken))

    def restore(self, index: LogIndex, data: bytes) -> None:
        self._inner.restore(index, data)
        self.begin(index)

    def begin(self, index: int) -> None:
        """The process has restored the state at this index from its own disk."""
        self._index = index
        if index:
            self._canon.snapshot_at(index, b"".join(self._inner.freeze()))


class RaftChecks:
    """All members of one run."""

    def __init__(self, canon: Canon, first_applied: Callable[[Table, int], None]) -> None:
        self.canon = canon
        self._first_applied = first_applied
        self.leaders: dict[Term, str] = {}
        self._votes: dict[tuple[MemberId, Term], MemberId] = {}
        self._committed: dict[str, int] = {}
        self._terms: dict[str, Term] = {}
        self._durable_terms: dict[MemberId, Term] = {}
        self._term_at: dict[int, Term] = {}  # of committed entries
        self._committed_in: dict[int, Term] = {}  # the term in which they were
        self._top = 0  # the highest of them

    def begins(self, process: Process, member: Member) -> None:
        replica = member.replica
        before = self._durable_terms.get(process.me, 0)
        assert replica.raw.term >= before, f"{process.name} forgot term {before}"
        watched = WatchedMachine(replica._machine, self.canon, self._first_applied)
        replica._machine = watched
        watched.begin(replica.applied_index)

    def message_sent(self, process: Process, data: bytes) -> None:
        """A vote is given once per term; an append is acknowledged when it is on disk."""
        _, kind, flags, to, sender, term, _, index = _HEAD.unpack_from(data)
        if flags & _REJECT:
            return
        if kind == MessageType.VOTE_RESP:
            vote = self._votes.setdefault((sender, term), to)
            assert vote == to, f"{process.name} votes twice in term {term}: {vote:x}, {to:x}"
        elif kind == MessageType.APP_RESP:
            durable = process.machine.durable_index()
            assert durable >= index, f"{process.name} acknowledges {index}, has {durable} on disk"

    def synced(self, process: Process, term: Term) -> None:
        """This term survives whatever happens to the power."""
        self._durable_terms[process.me] = term

    def turn_ended(self, process: Process, member: Member) -> None:
        core = member.replica.raw._core
        term = core.term
        before_term = self._terms.get(process.name, 0)
        assert term >= before_term, f"the term of {process.name} falls to {term}"
        self._terms[process.name] = term
        committed = core.log.committed
        before = self._committed.get(process.name, 0)
        assert committed >= before, f"the commit index of {process.name} falls to {committed}"
        if committed > before:
            self._committed[process.name] = committed
            self._note_committed(process, member, before, committed)
        if core.role is Role.LEADER and self.leaders.get(term) != process.name:
            self._elected(process, member, term)

    def _note_committed(
        self, process: Process, member: Member, before: int, committed: int
    ) -> None:
        log = member.replica.raw._core.log
        for index in range(max(before + 1, log.first_index()), committed + 1):
            term = log.term(index)
            if term is None:
                continue
            known = self._term_at.setdefault(index, term)
            assert known == term, f"{process.name} commits {index} of term {term}, was {known}"
            self._committed_in.setdefault(index, member.replica.raw.term)
        self._top = max(self._top, committed)

    def _elected(self, process: Process, member: Member, term: Term) -> None:
        other = self.leaders.setdefault(term, process.name)
        assert other == process.name, f"two leaders of term {term}: {other}, {process.name}"
        log = member.replica.raw._core.log
        index = self._top
        while index and self._committed_in.get(index, 0) >= term:
            index -= 1  # not by an earlier leader: then this one need not hold it
        if index in self._term_at:
            assert log.last_index() >= index, f"{process.name} leads without {index}"
            held = log.term(index)
            assert held in (None, self._term_at[index]), f"{process.name} leads, {index} differs"
