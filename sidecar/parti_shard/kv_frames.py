"""What members say to each other about the key-value store. `wire` gives these their kinds."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from parti_kv.limits import BATCH_BYTES_MAX
from parti_kv.values import SessionId
from parti_shard.errors import MalformedFrameError, Reason
from parti_shard.packing import Reader, read_enum, read_flag

COMMAND_BYTES_MAX = BATCH_BYTES_MAX + (64 << 10)  # a whole batch with its columns
KEEP_SESSIONS_MAX = 4_096  # of one frame

_REQUEST = Struct("<QI")
_REFUSED = Struct("<QB")
_KEPT = Struct("<QBI")


@dataclass(frozen=True, slots=True)
class KvPropose:
    """A member hands an encoded command of the store to the leader."""

    request: int
    command: bytes


@dataclass(frozen=True, slots=True)
class KvRefused:
    """That command certainly did not get into the log through this member."""

    request: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class KvKeep:
    """Clients of this member keep their sessions alive."""

    request: int
    sessions: tuple[SessionId, ...]


@dataclass(frozen=True, slots=True)
class KvKept:
    """Which of them live on. A reason other than OK: nothing is known of any."""

    request: int
    reason: Reason
    alive: tuple[bool, ...] = ()


def encode_propose(frame: KvPropose) -> bytes:
    assert len(frame.command) <= COMMAND_BYTES_MAX, len(frame.command)
    return _REQUEST.pack(frame.request, len(frame.command)) + frame.command


def decode_propose(reader: Reader) -> KvPropose:
    return KvPropose(reader.int64(), reader.blob(COMMAND_BYTES_MAX))


def encode_refused(frame: KvRefused) -> bytes:
    return _REFUSED.pack(frame.request, frame.reason)


def decode_refused(reader: Reader) -> KvRefused:
    request, reason = reader.fields(_REFUSED)
    return KvRefused(request, read_enum(Reason, reason))


def encode_keep(frame: KvKeep) -> bytes:
    assert len(frame.sessions) <= KEEP_SESSIONS_MAX, len(frame.sessions)
    count = len(frame.sessions)
    return _REQUEST.pack(frame.request, count) + Struct(f"<{count}Q").pack(*frame.sessions)


def decode_keep(reader: Reader) -> KvKeep:
    request, count = reader.fields(_REQUEST)
    _check_count(count)
    return KvKeep(request, tuple(map(SessionId, reader.column("Q", count))))


def encode_kept(frame: KvKept) -> bytes:
    return _KEPT.pack(frame.request, frame.reason, len(frame.alive)) + bytes(frame.alive)


def decode_kept(reader: Reader) -> KvKept:
    request, reason, count = reader.fields(_KEPT)
    _check_count(count)
    alive = tuple(map(read_flag, reader.column("B", count)))
    return KvKept(request, read_enum(Reason, reason), alive)


def _check_count(count: int) -> None:
    if count > KEEP_SESSIONS_MAX:
        raise MalformedFrameError(f"{count} sessions in a frame, the limit is {KEEP_SESSIONS_MAX}")
