"""Values of configuration changes and their byte form.

Two forms exist: `ConfChangeV1` changes one member and never goes through a joint configuration;
`ConfChangeV2` carries several changes and says how a joint configuration is left. The empty
`ConfChangeV2` leaves a joint configuration. `context` is opaque to Raft.

Byte form (big endian): a version-1 change is `type(1) member(8) context`; a version-2 change is
`transition(1) count(2)` and per change `type(1) member(8)`, then `context`. The empty version-2
change is empty, so that leaving a joint configuration is never refused for its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from parti_raft.errors import MalformedConfChangeError
from parti_raft.types import EntryType, MemberId


class ChangeType(IntEnum):
    """What happens to one member; the numbers are part of the log format."""

    ADD_VOTER = 0
    REMOVE = 1
    UPDATE = 2
    ADD_LEARNER = 3


class Transition(IntEnum):
    """Whether and how a joint configuration is used; the numbers are part of the log format."""

    AUTO = 0
    JOINT_IMPLICIT = 1
    JOINT_EXPLICIT = 2


@dataclass(frozen=True, slots=True)
class SingleChange:
    """One member's part of a change; member 0 means the change was voided and is skipped."""

    type: ChangeType
    member: MemberId


@dataclass(frozen=True, slots=True)
class ConfChangeV2:
    """Several changes that take effect together."""

    transition: Transition = Transition.AUTO
    changes: tuple[SingleChange, ...] = ()
    context: bytes = b""

    @property
    def leaves_joint(self) -> bool:
        """This change leaves a joint configuration."""
        return self.transition is Transition.AUTO and not self.changes

    @property
    def enters_joint(self) -> bool:
        """This change needs, or asks for, a joint configuration."""
        return self.transition is not Transition.AUTO or len(self.changes) > 1

    @property
    def auto_leave(self) -> bool:
        """The joint configuration, if one is entered, is left without further proposals."""
        return self.transition is not Transition.JOINT_EXPLICIT


@dataclass(frozen=True, slots=True)
class ConfChangeV1:
    """The change of one member."""

    type: ChangeType
    member: MemberId
    context: bytes = b""

    def as_v2(self) -> ConfChangeV2:
        """The same change in the newer form."""
        return ConfChangeV2(changes=(SingleChange(self.type, self.member),), context=self.context)


ConfChange = ConfChangeV1 | ConfChangeV2

_CHANGE = Struct(">BQ")
_HEADER = Struct(">BH")
CHANGES_COUNT_MAX = (1 << 16) - 1


def as_v2(change: ConfChange) -> ConfChangeV2:
    """Either form in the newer one."""
    return change.as_v2() if isinstance(change, ConfChangeV1) else change


def encode_conf_change(change: ConfChange) -> tuple[EntryType, bytes]:
    """The entry type and data that carry a change."""
    if isinstance(change, ConfChangeV1):
        data = _CHANGE.pack(change.type, change.member) + change.context
        return EntryType.CONF_CHANGE, data
    if change == ConfChangeV2():
        return EntryType.CONF_CHANGE_V2, b""
    if len(change.changes) > CHANGES_COUNT_MAX:
        raise MalformedConfChangeError(f"{len(change.changes)} changes in one")
    parts = [_HEADER.pack(change.transition, len(change.changes))]
    parts += [_CHANGE.pack(single.type, single.member) for single in change.changes]
    return EntryType.CONF_CHANGE_V2, b"".join(parts) + change.context


def decode_conf_change(kind: EntryType, data: bytes) -> ConfChange:
    """The change in an entry's data; raises `MalformedConfChangeError`."""
    try:
        if kind is EntryType.CONF_CHANGE:
            single = _single(data, 0)
            return ConfChangeV1(single.type, single.member, data[_CHANGE.size :])
        assert kind is EntryType.CONF_CHANGE_V2, "not a configuration change"
        return _decode_v2(data) if data else ConfChangeV2()
    except ValueError as error:
        raise MalformedConfChangeError(str(error)) from error


def _decode_v2(data: bytes) -> ConfChangeV2:
    if len(data) < _HEADER.size:
        raise ValueError("the header is cut")
    transition, count = _HEADER.unpack_from(data)
    end = _HEADER.size + count * _CHANGE.size
    changes = tuple(_single(data, at) for at in range(_HEADER.size, end, _CHANGE.size))
    return ConfChangeV2(Transition(transition), changes, data[end:])


def _single(data: bytes, at: int) -> SingleChange:
    if len(data) < at + _CHANGE.size:
        raise ValueError("a change is cut")
    kind, member = _CHANGE.unpack_from(data, at)
    return SingleChange(ChangeType(kind), MemberId(member))
