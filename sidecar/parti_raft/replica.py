"""A replicated state machine: one member's Raft core, its log, and the batching around them.

What it does:
- packs all commands waiting at a turn into one log entry (several entries if it grows too large),
  so that a command costs no message, no sync and no task of its own;
- lets one read round confirm all reads that wait (ReadIndex, Raft thesis 6.4);
- applies committed entries to a `StateMachine` and tells each proposer what became of its command;
- takes snapshots, in slices, and compacts the log;
- carries the asynchronous storage form: a `PersistJob` goes to disk while the loop goes on, and
  answers that promise durability leave only after `persisted(job)`.

How it is driven: feed events (`tick`, `receive`, `propose`, `read`, `persisted`, ...), then call
`turn()` and execute what it returns, in this order: hand `jobs` to the disk (in order), send
`messages`, deliver outcomes. Nothing here does I/O, reads a clock or draws a random number.

Outcomes of a command are exact: `applied` (with the machine's value), `dropped` (certainly not and
never executed) or `unknown` (a snapshot replaced the entries it would have been in).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from parti_raft.confchange import ConfChange, decode_conf_change
from parti_raft.config import Config
from parti_raft.entry_batch import pack_commands, unpack_commands
from parti_raft.errors import (
    DroppedError,
    InvalidMessageError,
    ProposalDropped,
    ReadDropped,
    SnapshotUnavailableError,
)
from parti_raft.raw_node import RawNode
from parti_raft.replica_log import ReplicaLog
from parti_raft.replica_snapshots import SnapshotTaker
from parti_raft.replica_values import (
    Drop,
    PersistJob,
    ReplicaLimits,
    RestoredState,
    StateMachine,
    Tag,
    Turn,
)
from parti_raft.types import (
    APPEND_THREAD,
    APPLY_THREAD,
    ConfState,
    Entry,
    EntryType,
    HardState,
    LogIndex,
    MemberId,
    Message,
    MessageType,
    Role,
    Snapshot,
    Term,
)


class Replica:
    """See the module's docstring."""

    def __init__(
        self,
        member: MemberId,
        machine: StateMachine,
        limits: ReplicaLimits,
        restored: RestoredState,
        random_timeout: Callable[[int, int], int],
    ) -> None:
        self.member = member
        self.limits = limits
        self._machine = machine
        self._out = Turn()
        self._waiting: deque[tuple[Tag, bytes]] = deque()
        self._waiting_bytes = 0
        self._pending: dict[LogIndex, tuple[Term, list[Tag]]] = {}
        self._reads_waiting: list[Tag] = []
        self._reads_in_flight: dict[bytes, tuple[int, list[Tag]]] = {}
        self._read_rounds = 0
        self._ticks = 0
        self.messages_refused = 0
        self._jobs: deque[PersistJob] = deque()
        self._compacting = False
        self._installing = False  # a snapshot of the leader is on its way to the disk
        self._bytes_since_snapshot = 0
        self.conf_state = restored.snapshot.conf_state
        self.applied_index = restored.snapshot.index
        self.applied_term = restored.snapshot.term
        self._taker = SnapshotTaker(limits.snapshot_chunks_per_slice, limits.snapshot_offered_ticks)
        self._log = ReplicaLog(restored, self._snapshot_for_member)
        if restored.snapshot.index:
            machine.restore(restored.snapshot.index, restored.snapshot.data)
        self._snapshot_index = restored.snapshot.index
        self._voted = (restored.hard_state.term, restored.hard_state.vote)
        self._unwritten: HardState | None = None  # the commit index has moved since the last job
        self.raw = RawNode(self._config(random_timeout), self._log)

    def _config(self, random_timeout: Callable[[int, int], int]) -> Config:
        limits = self.limits
        return Config(
            id=self.member,
            election_tick=limits.election_ticks,
            heartbeat_tick=limits.heartbeat_ticks,
            applied=self.applied_index,
            async_storage_writes=True,
            max_size_per_msg=limits.message_bytes_max,
            max_uncommitted_size=limits.uncommitted_bytes_max,
            max_inflight_msgs=limits.messages_in_flight_max,
            max_inflight_bytes=limits.bytes_in_flight_max,
            max_pending_reads=limits.reads_waiting_max,
            disable_proposal_forwarding=True,
            random_timeout=random_timeout,
        )

    # --- what is asked from outside -------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """Whether this member leads, as far as it knows."""
        return self.raw.role is Role.LEADER

    @property
    def leads_with_own_entry(self) -> bool:
        """Leads, and has applied an entry of its own term: its state is complete."""
        return self.is_leader and self.applied_term == self.raw.term

    @property
    def leader(self) -> MemberId:
        """The leader of the current term as known here, 0 for none."""
        return self.raw.leader

    @property
    def idle_since_snapshot(self) -> int:
        """Entries applied since the last snapshot."""
        return self.applied_index - self._snapshot_index

    def tick(self) -> None:
        """Let one tick of time pass."""
        self._ticks += 1
        self.raw.tick()
        if self.raw.follows_in_vain:
            self.raw.forget_leader()
        self._take_slice()
        self._taker.tick(self._ticks)
        if self._reads_in_flight:
            self._give_up_reads(older_than=self._ticks - self.limits.read_ticks_max)

    def receive(self, messages: Sequence[Message]) -> None:
        """Take messages of peers; those that a peer may not send now are counted and dropped."""
        for message in messages:
            self._step(message)

    def _step(self, message: Message) -> None:
        """A message may come too late: from a removed member, from this one after its removal."""
        try:
            self.raw.step(message)
        except (InvalidMessageError, DroppedError):
            self.messages_refused += 1

    def propose(self, tag: Tag, command: bytes) -> None:
        """Ask for a command to be committed and applied; the outcome comes with a turn."""
        limits = self.limits
        if len(command) > limits.command_bytes_max:
            self._out.dropped.append((tag, Drop.TOO_LARGE))
        elif (
            len(self._waiting) >= limits.waiting_commands_max
            or self._waiting_bytes + len(command) > limits.waiting_bytes_max
        ):
            self._out.dropped.append((tag, Drop.OVERLOADED))
        else:
            self._waiting.append((tag, command))
            self._waiting_bytes += len(command)

    def propose_conf_change(self, tag: Tag, change: ConfChange) -> None:
        """Ask for a membership change; one at a time, refused while another is under way."""
        if not self.is_leader:
            self._out.dropped.append((tag, Drop.NOT_LEADER))
            return
        before = self.raw.last_index
        try:
            self.raw.propose_conf_change(change)
        except ProposalDropped:
            self._out.dropped.append((tag, Drop.REFUSED))
            return
        if self.raw.entry_type(LogIndex(before + 1)) is EntryType.NORMAL:
            # Another change is under way: Raft has put an empty entry in its place.
            self._out.dropped.append((tag, Drop.REFUSED))
            return
        self._expect(LogIndex(before + 1), [tag])

    def read(self, tag: Tag) -> None:
        """Ask for an index such that state applied up to it holds all that was ever acknowledged.

        The round that confirms it begins after this call (linearizable, Raft thesis 6.4).
        """
        if len(self._reads_waiting) >= self.limits.reads_waiting_max:
            self._out.reads_dropped.append(tag)
        else:
            self._reads_waiting.append(tag)

    def transfer_leader(self, to: MemberId) -> None:
        """Hand leadership over; the core gives up after an election timeout."""
        self.raw.transfer_leader(to)

    def report_unreachable(self, member: MemberId) -> None:
        """Messages to this member may be lost."""
        self.raw.report_unreachable(member)

    def report_snapshot(self, member: MemberId, *, ok: bool) -> None:
        """A snapshot stream to this member has ended."""
        self.raw.report_snapshot(member, ok)

    def persisted(self, job: PersistJob) -> None:
        """The disk has this job; jobs end in the order in which turns gave them."""
        expected = self._jobs.popleft()
        assert job is expected, "jobs end in order"
        self._settle_job(job)

    def turn(self) -> Turn:
        """Work until nothing is left to do without outside help; gives what is to be done."""
        while self._propose_waiting() or self._begin_read_round() or self.raw.has_ready():
            self._handle_ready()
        self._snapshot_when_due()
        out, self._out = self._out, Turn()
        return out

    # --- proposing and reading ----------------------------------------------------------------

    def _propose_waiting(self) -> bool:
        """Propose one entry of waiting commands; True if there was one to propose."""
        if not self._waiting:
            return False
        if not self.is_leader:
            self._drop_waiting(Drop.NOT_LEADER)
            return False
        if len(self._pending) >= self.limits.entries_in_flight_max:
            return False
        tags, commands = self._take_waiting()
        try:
            self.raw.propose(pack_commands(commands))
        except ProposalDropped:
            self._out.dropped.extend((tag, Drop.REFUSED) for tag in tags)
        else:
            self._expect(self.raw.last_index, tags)
        return True

    def _expect(self, index: LogIndex, tags: list[Tag]) -> None:
        """Remember who proposed the entry at `index`.

        Proposals of an earlier term at or after `index` are gone: this leader's log holds all
        that is committed, and it does not hold them.
        """
        for stale in [i for i in self._pending if i >= index]:
            _, lost = self._pending.pop(stale)
            self._out.dropped.extend((tag, Drop.OVERWRITTEN) for tag in lost)
        self._pending[index] = (self.raw.term, tags)

    def _take_waiting(self) -> tuple[list[Tag], list[bytes]]:
        tags: list[Tag] = []
        commands: list[bytes] = []
        room = self.limits.entry_bytes_max
        waiting = self._waiting
        while waiting and len(tags) < self.limits.entry_commands_max:
            tag, command = waiting[0]
            room -= len(command)
            if room < 0 and tags:
                break
            waiting.popleft()
            tags.append(tag)
            commands.append(command)
            self._waiting_bytes -= len(command)
        return tags, commands

    def _drop_waiting(self, why: Drop) -> None:
        self._out.dropped.extend((tag, why) for tag, _ in self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0

    def _begin_read_round(self) -> bool:
        if not self._reads_waiting:
            return False
        tags, self._reads_waiting = self._reads_waiting, []
        self._read_rounds += 1
        context = self._read_rounds.to_bytes(8, "little")
        try:
            self.raw.read_index(context)
        except ReadDropped:
            self._out.reads_dropped.extend(tags)
        else:
            self._reads_in_flight[context] = (self._ticks, tags)
        return True

    def _give_up_reads(self, older_than: int) -> None:
        for context, (begun, tags) in list(self._reads_in_flight.items()):
            if begun <= older_than:
                del self._reads_in_flight[context]
                self._out.reads_dropped.extend(tags)

    # --- Raft's outputs -------------------------------------------------------------------------

    def _handle_ready(self) -> None:
        if not self.raw.has_ready():
            return
        ready = self.raw.ready()
        for state in ready.read_states:
            _, tags = self._reads_in_flight.pop(state.context, (0, []))
            self._out.reads.extend((tag, state.index) for tag in tags)
        asked = [message for message in ready.messages if message.type is MessageType.VOTE]
        written = any(message.to == APPEND_THREAD for message in ready.messages)
        assert written or not asked, "a candidacy is a new vote"
        for message in ready.messages:
            if message.to == APPEND_THREAD:
                self._persist(message, asked)
            elif message.to == APPLY_THREAD:
                self._apply(message.entries)
                for response in message.responses:
                    self.raw.step(response)
            elif message.type is not MessageType.VOTE:
                self._out.messages.append(message)

    def _persist(self, message: Message, asked: list[Message]) -> None:
        """Write, and answer then. Votes are asked for then, too: the others may be a majority
        without this member, and a leader whose term a crash takes back could lead it once more.
        """
        responses = [*message.responses, *asked]
        state: HardState | None = None
        if message.type is not MessageType.STORAGE_APPEND:
            raise AssertionError(f"{message.type.name} is no storage message")
        if message.term or message.vote or message.commit:
            state = HardState(message.term, message.vote, message.commit)
        if not message.entries and message.snapshot is None and not self._is_new_vote(state):
            self._persist_nothing(state, responses)
            return
        if state is None:
            state = self._unwritten
        self._unwritten = None
        if message.snapshot is not None:
            self._give_up_snapshots()
        job = PersistJob(
            hard_state=state,
            entries=message.entries,
            snapshot=message.snapshot,
            installed=message.snapshot is not None,
            responses=responses,
        )
        self._submit(job)

    def _is_new_vote(self, state: HardState | None) -> bool:
        """Whether the step changes term or vote, which must be on disk before it is told."""
        if state is None or (state.term, state.vote) == self._voted:
            return False
        self._voted = (state.term, state.vote)
        return True

    def _persist_nothing(self, state: HardState | None, responses: list[Message]) -> None:
        """Only the commit index moved: no write of its own, but its place in the order.

        A restart may find an older commit index; it is learned again. But an entry must never be
        on disk without the commit index that was known when it came: whoever holds a membership
        change knows by that index that the change before it is in force. Without it a restart
        could campaign in a membership two changes old, whose majority need not meet the present.
        """
        if state is not None:
            self._unwritten = state
        if self._jobs:
            last = self._jobs[-1]
            last.responses.extend(responses)
            if state is not None:
                last.commit_notes.append(state)
        else:
            self._settle_job(PersistJob(hard_state=state, responses=responses))

    def _submit(self, job: PersistJob) -> None:
        self._jobs.append(job)
        self._out.jobs.append(job)

    def _settle_job(self, job: PersistJob) -> None:
        if job.installed and job.snapshot is not None:
            self._installing = False
            self._install(job.snapshot)
        if job.entries:
            self._log.append(job.entries)
        if job.hard_state is not None:
            self._log.set_hard_state(job.hard_state)
        for state in job.commit_notes:
            self._log.set_hard_state(state)
        if not job.installed and job.snapshot is not None:
            self._compacting = False
            self._snapshot_index = job.snapshot.index
            self._log.compact(job.compact_to)
        for response in job.responses:
            if response.to == self.member:
                self._step(response)
            else:
                self._out.messages.append(response)

    def _install(self, snapshot: Snapshot) -> None:
        assert snapshot.index > self.applied_index, "a snapshot never takes state back"
        self._log.apply_snapshot(snapshot)
        self._machine.restore(snapshot.index, snapshot.data)
        self.applied_index = self._snapshot_index = snapshot.index
        self.applied_term = snapshot.term
        self.conf_state = snapshot.conf_state
        self._bytes_since_snapshot = 0
        for index in [i for i in self._pending if i <= snapshot.index]:
            self._out.unknown.extend(self._pending.pop(index)[1])

    # --- applying ------------------------------------------------------------------------------

    def _apply(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            assert entry.index == self.applied_index + 1, "entries are applied without a gap"
            if entry.type is EntryType.NORMAL:
                values = self._machine.apply(entry.index, unpack_commands(entry.data))
            else:
                values = (self._apply_conf_change(entry),)
            self.applied_index = entry.index
            self.applied_term = entry.term
            self._bytes_since_snapshot += len(entry.data)
            pending = self._pending.pop(entry.index, None)
            if pending is not None:
                self._resolve(pending, entry.term, values)

    def _apply_conf_change(self, entry: Entry) -> ConfState:
        change = decode_conf_change(entry.type, entry.data)
        self.conf_state = self.raw.apply_conf_change(change)
        self._machine.configured(entry.index, change, self.conf_state)
        return self.conf_state

    def _resolve(
        self, pending: tuple[Term, list[Tag]], term: Term, values: Sequence[object]
    ) -> None:
        proposed_in, tags = pending
        if proposed_in == term:
            self._out.applied.extend(zip(tags, values, strict=True))
        else:
            self._out.dropped.extend((tag, Drop.OVERWRITTEN) for tag in tags)

    # --- snapshots -------------------------------------------------------------------------------

    def _begin_snapshot(self, *, compacts: bool) -> Snapshot | None:
        """Freeze the state and take a first slice; gives the snapshot if that was all of it."""
        head = Snapshot(self.applied_index, self.applied_term, self.conf_state)
        self._taker.begin(head, self._machine.freeze(), compacts=compacts)
        return self._take_slice()

    def _take_slice(self) -> Snapshot | None:
        taken = self._taker.go_on(self._ticks)
        if taken is None:
            return None
        snapshot, compacts = taken
        if compacts:
            members = self.raw.status().progress.values()  # only a leader knows any
            held = [max(m.match_index, m.pending_snapshot) for m in members if m.recent_active]
            compact_to = self._log.compactable_to(snapshot.index, self.limits, held)
            self._submit(PersistJob(snapshot=snapshot, compact_to=compact_to))
        return snapshot

    def _snapshot_for_member(self) -> Snapshot:
        """For a member that lags behind the log. Raises SnapshotUnavailableError: ask again."""
        floor = LogIndex(self._log.first_index() - 1)
        snapshot = self._taker.offered(self.conf_state, floor)
        if snapshot is None and not self._taker.busy:
            snapshot = self._begin_snapshot(compacts=False)
        if snapshot is None:
            self._taker.ask()
            raise SnapshotUnavailableError
        return snapshot

    def _give_up_snapshots(self) -> None:
        """A newer state than any taken here is on its way to the disk, which takes none back."""
        self._installing = True
        if self._taker.busy:
            self._taker.abandon()
            self._compacting = any(
                job.snapshot is not None and not job.installed for job in self._jobs
            )

    def _snapshot_when_due(self) -> None:
        limits = self.limits
        if self._compacting or self._installing or self._taker.busy:
            return
        if (
            self.idle_since_snapshot < limits.snapshot_every_entries
            and self._bytes_since_snapshot < limits.snapshot_every_bytes
        ):
            return
        self._compacting = True
        self._bytes_since_snapshot = 0
        self._begin_snapshot(compacts=True)
