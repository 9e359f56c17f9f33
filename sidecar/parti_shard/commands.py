"""The commands of the replicated log: every change of the table is one of these.

Each names what it expects (epoch, session), and is checked again when it is applied, so a late or
repeated command is harmless. `FORWARDABLE` lists the kinds that any member may hand to the leader.
All others rest on what the proposing leader alone knows (receipts of renewals, releases): they may
enter the log only through that leader, in its own term, and must never be forwarded. An expiry that
a deposed leader hands to its successor could end a session whose lease the successor has renewed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from parti_shard.ids import NO_SESSION, Epoch, LogIndex, MemberId, PartitionId, SessionId
from parti_shard.policy import Policy


class Intent(IntEnum):
    """What people want of a member; each includes the ones before it."""

    NONE = 0
    CORDON = 1  # receives no more partitions
    DRAIN = 2  # hands all its partitions over
    REMOVE = 3  # drained, then taken out of the cluster; opens no more sessions


class Cause(IntEnum):
    """Why a partition changed hands: a closed list, told to people in `label`s."""

    ORPHAN = 1  # nobody owned it
    EXPIRED = 2  # its owner's session expired
    CLOSED = 3  # its owner closed its session
    REBALANCE = 4
    DRAIN = 5  # its owner is drained, by intent or because it shuts down
    NO_WORKER = 6  # its owner has no worker
    MANUAL = 7  # pinned by a person
    WORKER_REPLACED = 8  # same owner, but another worker process needs another epoch

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Begin a run of a member. The member must no longer use the previous session."""

    member: MemberId
    previous_session: SessionId  # the member's latest one, open or over; it ends with this
    nonce: int  # the same request again gives the same session
    name: str
    address: str
    zone: str = ""
    capacity: int = 1
    router_only: bool = False
    version: str = ""


@dataclass(frozen=True, slots=True)
class CloseSession:
    """End a session on its member's own wish."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class ExpireSession:
    """End a session whose lease is proven to be over."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class Grant:
    """Give a partition to a session under epoch `expect_epoch` + 1.

    For a partition that is not FREE it may be proposed only after its holder has released exactly
    `expect_epoch`.
    """

    partition: PartitionId
    expect_epoch: Epoch
    member: MemberId
    session: SessionId
    cause: Cause


@dataclass(frozen=True, slots=True)
class Revoke:
    """Ask the owner to let go; `target` is who shall have it next, 0 for nobody."""

    partition: PartitionId
    expect_epoch: Epoch
    target: MemberId
    cause: Cause


@dataclass(frozen=True, slots=True)
class Release:
    """The holder has let go and nobody shall have it next: the partition becomes FREE."""

    partition: PartitionId
    epoch: Epoch
    session: SessionId


@dataclass(frozen=True, slots=True)
class SetIntent:
    """Cordon, drain or remove a member, or take that back."""

    member: MemberId
    intent: Intent


@dataclass(frozen=True, slots=True)
class DescribeMember:
    """Facts that an operator knows better than the member. They win over what the member says of
    itself, also when it says it anew; an empty one (0) is again what the member says.
    """

    member: MemberId
    zone: str
    capacity: int


@dataclass(frozen=True, slots=True)
class Pin:
    """Keep a partition at a member while that is eligible; 0: automatic placement again."""

    partition: PartitionId
    member: MemberId


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """Replace the policy."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Require:
    """The commands after it in the same batch count only if members, voters, intents, facts, pins
    and the policy have not changed since `config_index`: a plan made from older ones cannot win.
    """

    config_index: LogIndex


Command: TypeAlias = (
    OpenSession
    | CloseSession
    | ExpireSession
    | Grant
    | Revoke
    | Release
    | SetIntent
    | DescribeMember
    | Pin
    | SetPolicy
    | Require
)

FORWARDABLE = (OpenSession, CloseSession, SetIntent, DescribeMember, Pin, SetPolicy, Require)


class Rejection(IntEnum):
    """Why a command changed nothing."""

    NONE = 0
    BAD_PARTITION = 1
    UNKNOWN_MEMBER = 2
    UNKNOWN_SESSION = 3  # never opened, or over
    WRONG_SESSION = 4  # not the session that was named; the value is the right one
    WRONG_EPOCH = 5
    WRONG_PHASE = 6
    SESSION_OVER = 7  # the session that this request opened has ended already
    MEMBER_LEAVING = 8  # intent REMOVE: opens no more sessions
    SESSION_OPEN = 9  # a member with an open session cannot be taken out
    BAD_POLICY = 10
    BAD_CAPACITY = 11
    CONFIG_CHANGED = 12  # since the index that was required; the value is the index of the change


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one command; `value` is the session id of OpenSession."""

    rejection: Rejection = Rejection.NONE
    value: int = 0

    @property
    def ok(self) -> bool:
        return self.rejection is Rejection.NONE


@dataclass(frozen=True, slots=True)
class NewMember:
    """What a configuration change says of the member that it adds."""

    member: MemberId
    name: str
    address: str
    zone: str = ""


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """A member as the table knows it."""

    name: str
    address: str
    said_zone: str = ""  # by the member itself
    said_capacity: int = 1
    set_zone: str = ""  # by an operator; empty: as the member says
    set_capacity: int = 0  # likewise, 0
    router_only: bool = False
    version: str = ""
    session: SessionId = NO_SESSION  # the open one
    last_session: SessionId = NO_SESSION  # the latest one, open or over
    nonce: int = 0  # of the request that opened the latest one
    intent: Intent = Intent.NONE
    joined_index: int = 0

    @property
    def zone(self) -> str:
        """The failure domain that counts."""
        return self.set_zone or self.said_zone

    @property
    def capacity(self) -> int:
        """The share that counts."""
        return self.set_capacity or self.said_capacity
