"""One guard taken away at a time: the simulator has to notice, or it proves nothing.

Each sabotage names the troubles under which the guard is needed, so that few seeds are enough.
That a lease counts only once its read index is applied is not among them: as long as a leader
answers nothing before it has applied an entry of its own term, taking that away alone changes
nothing that can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from parti_kv.sessions import Sessions
from parti_raft.replica import Replica
from parti_raft.replica_values import PersistJob
from parti_raft.types import LogIndex
from parti_shard import dispatch, lease, table
from parti_shard.commands import Grant, Outcome
from parti_shard.coordinator import Coordinator
from parti_shard.dispatch import Dispatch
from parti_shard.errors import Executed, Failure
from parti_shard.gate import Gate
from parti_shard.holdings import Holding, Stage
from parti_shard.ids import MemberId, PartitionId, SessionId
from parti_shard.kv_access import KvAccess, KvReadTag
from parti_shard.lanes import Lane
from parti_shard.leadership import Leadership, OwnTag
from parti_shard.lease import LeaseKeeper
from parti_shard.messages import QUEUED
from parti_shard.messages import Message as Routed
from parti_shard.parking import Parking
from parti_shard.table_state import Phase
from tests.sim.plan import Plan, make_plan
from tests.sim.timeline import MS, S

SEEDS_TO_CATCH: Final = 40
FOR_EVER_MS: Final = 1 << 50

LOST_LEADERS: Final = ("isolate leader", "split", "pause", "long pause")
MOVES: Final = ("pin", "intent", "worker replaced", "slow path")


@dataclass(frozen=True)
class Sabotage:
    """`patches`: owner, attribute, what takes its place given the original."""

    patches: tuple[tuple[Any, str, Callable[[Any], Any]], ...]
    troubles: tuple[str, ...]
    clock_error_ppm: int | None = None
    store_users: int = 0

    def plan(self, seed: int) -> Plan:
        plan = replace(
            make_plan(seed),
            troubles=self.troubles,
            trouble_every_us=(100 * MS, 1 * S),
            trouble_for_us=15 * S,
            available_for_ms=0,
            store_users=self.store_users,
        )
        if self.clock_error_ppm is not None:
            plan = replace(plan, clock_error_ppm=self.clock_error_ppm)
        return plan

    @contextmanager
    def at_work(self) -> Iterator[None]:
        originals = [(owner, name, _get(owner, name)) for owner, name, _ in self.patches]
        try:
            for owner, name, make in self.patches:
                _set(owner, name, make(_get(owner, name)))
            yield
        finally:
            for owner, name, original in originals:
                _set(owner, name, original)


def _get(owner: Any, name: Any) -> Any:
    return owner[name] if isinstance(owner, dict) else getattr(owner, name)


def _set(owner: Any, name: Any, value: Any) -> None:
    if isinstance(owner, dict):
        owner[name] = value
    else:
        setattr(owner, name, value)


# -- leases


def _without_round(original: Callable[..., None]) -> Callable[..., None]:
    """Renewals are answered without asking whether this member still leads."""

    def act(self: Leadership, now_ms: int) -> None:
        original(self, now_ms)
        for context in list(self.keeper._rounds):
            index = self._table.applied_index
            for member, answer in self.keeper.confirmed(context, index, now_ms):
                self._send(member, answer)

    return act


def _without_wait(original: Callable[..., None]) -> Callable[..., None]:
    """A new leader does not count sessions as renewed."""

    def became_leader(
        self: LeaseKeeper, now_ms: int, open_sessions: Mapping[SessionId, MemberId]
    ) -> None:
        original(self, now_ms - 10_000, open_sessions)

    return became_leader


def _without_lease(original: Callable[..., None]) -> Callable[..., None]:
    """The gate asks for a session, not for its lease."""

    def set_lease(self: Gate, session: SessionId, *_ends: int) -> None:
        original(self, session, FOR_EVER_MS, FOR_EVER_MS)

    return set_lease


# -- ownership


def _unreleased(original: Callable[..., None]) -> Callable[..., None]:
    """The next grant does not wait for the release."""

    def follow(self: Coordinator, partition: PartitionId, now_ms: int) -> None:
        original(self, partition, now_ms)
        if self._table.phase[partition] == Phase.REVOKING:
            held = self._table.session[partition], self._table.epoch[partition]
            self._released[partition] = held

    return follow


def _same_epoch(original: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """A grant does not raise the epoch."""

    def grant(self: table.Table, command: Grant) -> Outcome:
        before = list(self.epoch)
        outcome = original(self, command)
        if before[command.partition] > 1:
            self.epoch[command.partition] = before[command.partition]
        return outcome

    return grant


def _shared_epoch(original: Callable[..., None]) -> Callable[..., None]:
    """What a lost worker held is handed to the next one under the same epoch."""

    def move_to(self: Holding, stage: Stage) -> None:
        original(self, Stage.GRANTED if stage is Stage.LOST else stage)

    return move_to


# -- messages


def _newest_first(original: Callable[..., Routed]) -> Callable[..., Routed]:
    """Parked messages leave in the wrong order."""

    def pop(self: Parking, lane: Lane) -> Routed:
        message = lane.parked.pop()
        message.state = QUEUED
        self._uncount(lane, 1, message.size_bytes)
        return message

    return pop


def _sent_again(original: Callable[..., None]) -> Callable[..., None]:
    """What may have run runs again, asked for or not."""

    def settle_unknown(self: Dispatch, message: Routed, failure: object) -> None:
        message.idempotent = True
        original(self, message, failure)

    return settle_unknown


def _told_no(original: Any) -> Any:
    """A lost message is told as not executed."""
    return replace(original, executed=Executed.NO)


# -- the store


def _read_at_once(_original: Callable[..., None]) -> Callable[..., None]:
    """A read looks at what is known here, without asking for a read index."""

    def ask_read(self: KvAccess, number: int, read: Any) -> None:
        read.asked = True
        self.read_confirmed(KvReadTag(number), LogIndex(0))

    return ask_read


def _never_remembered(_original: Callable[..., None]) -> Callable[..., None]:
    """A session does not keep the answers to its writes."""

    def remember(_self: Sessions, _session: object, _seq: int, _answer: object) -> None:
        """Forget it."""

    return remember


# -- consensus


def _answered_early(original: Callable[..., None]) -> Callable[..., None]:
    """Votes and acknowledgements leave before the write."""

    def submit(self: Replica, job: PersistJob) -> None:
        early = [response for response in job.responses if response.to != self.member]
        job.responses = [response for response in job.responses if response.to == self.member]
        self._out.messages.extend(early)
        original(self, job)

    return submit


def _restless(original: Callable[..., None]) -> Callable[..., None]:
    """What a leader could not propose is decided anew within the same turn."""

    def not_applied(self: Leadership, tag: OwnTag, failure: Failure) -> None:
        original(self, tag, failure)
        self._attention = True

    return not_applied


SABOTAGES: Final[dict[str, Sabotage]] = {
    "clocks beyond the bound": Sabotage((), LOST_LEADERS, clock_error_ppm=60_000),
    "renewals without a read round": Sabotage(
        ((Leadership, "act", _without_round),), ("isolate leader", "split")
    ),
    "a new leader does not wait": Sabotage(
        ((LeaseKeeper, "became_leader", _without_wait),), ("isolate leader", "split", "transfer")
    ),
    "a gate without a lease": Sabotage(((Gate, "set_lease", _without_lease),), LOST_LEADERS),
    "sessions expire early": Sabotage(
        ((lease, "keeper_term_ms", lambda _: lambda ttl_ms: ttl_ms // 2),),
        ("one-way cut", "long pause", "slow path"),
    ),
    "a grant before the release": Sabotage(((Coordinator, "_follow", _unreleased),), MOVES),
    "an epoch is used again": Sabotage(((table._HANDLERS, Grant, _same_epoch),), MOVES),  # type: ignore[arg-type]
    "two workers under one epoch": Sabotage(
        ((Holding, "move_to", _shared_epoch),), ("worker replaced", "worker crash")
    ),
    "parked messages out of order": Sabotage(((Parking, "pop", _newest_first),), MOVES),
    "unknown told as not executed": Sabotage(
        ((dispatch, "_CONNECTION_LOST", _told_no),), ("reset streams", "kill")
    ),
    "everything is sent again": Sabotage(
        ((Dispatch, "settle_unknown", _sent_again),), ("reset streams", "kill")
    ),
    "refused proposals repeated at once": Sabotage(
        ((Leadership, "not_applied", _restless),), ("transfer", "pin", "worker replaced")
    ),
    "reads without a read round": Sabotage(
        ((KvAccess, "_ask_read", _read_at_once),), ("slow path", "split"), store_users=3
    ),
    "a retried write counts twice": Sabotage(
        ((Sessions, "remember", _never_remembered),), ("reset streams", "kill"), store_users=3
    ),
    "answers before the write": Sabotage(((Replica, "_submit", _answered_early),), ("power cut",)),
}
