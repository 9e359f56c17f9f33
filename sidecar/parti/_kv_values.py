"""What the key-value store takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from parti_proto import kv_pb2

_RELATIONS: Final = {
    "==": kv_pb2.KvCompare.RELATION_EQUAL,
    "!=": kv_pb2.KvCompare.RELATION_NOT_EQUAL,
    "<": kv_pb2.KvCompare.RELATION_LESS,
    ">": kv_pb2.KvCompare.RELATION_GREATER,
}


class Entry(NamedTuple):
    """What a key holds: its value, the revision of its last change, and since when it exists."""

    value: bytes
    revision: int
    created: int


class Item(NamedTuple):
    """A key of a range and what it holds."""

    key: bytes
    entry: Entry


class Page(NamedTuple):
    """Keys in order; `more` says that the range goes on behind the last one."""

    items: tuple[Item, ...]
    more: bool
    revision: int  # of the store as it was read


class CasResult(NamedTuple):
    """Whether the compare held. The revision is the new one, or the key's present one (0: absent).

    True and false like `ok`.
    """

    ok: bool
    revision: int

    def __bool__(self) -> bool:
        return self.ok


class Change(NamedTuple):
    """One change of a key; `value` is None when it was deleted."""

    key: bytes
    value: bytes | None
    revision: int


class LockState(NamedTuple):
    """Who holds a lock: the token and value of the holder (0 and empty: nobody), how many wait."""

    token: int
    value: bytes
    waiting: int
    session: int


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition of a transaction: exactly one of `value`, `revision` and `created`.

    A key that is absent has revision 0 and no value: of its value only `!=` holds.
    """

    key: bytes | str
    relation: str = "=="
    value: bytes | str | None = None
    revision: int | None = None
    created: int | None = None

    def message(self) -> kv_pb2.KvCompare:
        """The condition in the protocol's words."""
        if sum(each is not None for each in (self.value, self.revision, self.created)) != 1:
            raise ValueError("compare exactly one of value, revision and created")
        if self.relation not in _RELATIONS:
            raise ValueError(f"{self.relation!r} is no relation: use one of {' '.join(_RELATIONS)}")
        return kv_pb2.KvCompare(
            key=as_bytes(self.key),
            relation=_RELATIONS[self.relation],
            value=None if self.value is None else as_bytes(self.value),
            revision=self.revision,
            created=self.created,
        )


@dataclass(frozen=True, slots=True)
class Get:
    """Read a key within a transaction."""

    key: bytes | str

    def message(self) -> kv_pb2.KvAction:
        """The action in the protocol's words."""
        return kv_pb2.KvAction(get=as_bytes(self.key))


@dataclass(frozen=True, slots=True)
class Put:
    """Set a key within a transaction."""

    key: bytes | str
    value: bytes | str

    def message(self) -> kv_pb2.KvAction:
        """The action in the protocol's words."""
        pair = kv_pb2.KvPair(key=as_bytes(self.key), value=as_bytes(self.value))
        return kv_pb2.KvAction(put=pair)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key within a transaction."""

    key: bytes | str

    def message(self) -> kv_pb2.KvAction:
        """The action in the protocol's words."""
        return kv_pb2.KvAction(delete=as_bytes(self.key))


Action = Get | Put | Delete


class ActionResult(NamedTuple):
    """Whether the key was there; for a Get also what it held."""

    found: bool
    value: bytes
    revision: int


class TxnResult(NamedTuple):
    """Which branch ran, what its actions gave, and the revision it made.

    True and false like `succeeded`.
    """

    succeeded: bool
    actions: tuple[ActionResult, ...]
    revision: int

    def __bool__(self) -> bool:
        return self.succeeded


def as_bytes(data: bytes | str) -> bytes:
    """Text as UTF-8; bytes as they are."""
    if isinstance(data, str):
        return data.encode()
    if not isinstance(data, bytes):
        raise TypeError(f"bytes or str are wanted, not {type(data).__name__}")
    return data


def txn_result(reply: kv_pb2.KvTxnReply) -> TxnResult:
    """Make the public value of a transaction's reply."""
    actions = tuple(ActionResult(each.found, each.value, each.revision) for each in reply.actions)
    return TxnResult(reply.succeeded, actions, reply.revision)


def lock_state(state: kv_pb2.KvLockState) -> LockState:
    """Make the public value of a lock's state."""
    return LockState(state.token, state.value, state.waiting, state.session)


def item_of(item: kv_pb2.KvItem) -> Item:
    """Make the public value of one key of a range."""
    return Item(item.key, Entry(item.value, item.revision, item.created))


def changes_of(reply: kv_pb2.KvWatchReply) -> list[Change]:
    """Make the public values of changes."""
    return [
        Change(each.key, None if each.deleted else each.value, each.revision)
        for each in reply.changes
    ]
