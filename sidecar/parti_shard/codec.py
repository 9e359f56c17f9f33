"""Bytes of a batch of commands: what one normal log entry holds.

A batch is a header (format version, the proposer's wall clock in unix ms, how many commands) and
the commands one behind the other, each a kind byte and fixed-width fields. Grants and revokes are
the bulk and take 30 and 22 bytes. Decoding refuses what it does not know entirely: a member must
never apply half an entry, since the others would apply the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any

from parti_shard.commands import (
    Cause,
    CloseSession,
    Command,
    DescribeMember,
    ExpireSession,
    Grant,
    Intent,
    NewMember,
    OpenSession,
    Pin,
    Release,
    Require,
    Revoke,
    SetIntent,
    SetPolicy,
)
from parti_shard.errors import MalformedFrameError
from parti_shard.ids import Epoch, LogIndex, MemberId, PartitionId, SessionId
from parti_shard.limits import PARTITIONS_MAX, CoordinatorTimes
from parti_shard.packing import Reader, pack_text, read_enum, read_flag
from parti_shard.policy import STRATEGIES, Policy

FORMAT_VERSION = 1
COMMANDS_MAX = CoordinatorTimes().commands_per_entry_max

_OPEN, _CLOSE, _EXPIRE, _GRANT, _REVOKE, _RELEASE, _INTENT, _PIN, _POLICY = range(1, 10)
_DESCRIBE, _REQUIRE = range(10, 12)

_HEADER = Struct("<BQI")  # version, at_unix_ms, count
_OPEN_FIELDS = Struct("<QQQIB")  # member, previous session, nonce, capacity, router only
_SESSION = Struct("<BQ")
_GRANT_FIELDS = Struct("<BIQQQB")  # kind, partition, expected epoch, member, session, cause
_REVOKE_FIELDS = Struct("<BIQQB")  # kind, partition, expected epoch, target, cause
_RELEASE_FIELDS = Struct("<BIQQ")  # kind, partition, epoch, session
_INTENT_FIELDS = Struct("<BQB")
_DESCRIBE_FIELDS = Struct("<BQI")  # kind, member, capacity; the zone follows
_REQUIRE_FIELDS = Struct("<BQ")
_PIN_FIELDS = Struct("<BIQ")
_POLICY_FIELDS = Struct("<BBIIIIBIIB")
_MEMBER_FIELDS = Struct("<BQ")  # version, member


def encode_batch(at_unix_ms: int, commands: Sequence[Command]) -> bytes:
    """Return the data of one entry; the caller keeps to `COMMANDS_MAX`."""
    assert 0 < len(commands) <= COMMANDS_MAX, f"a batch of {len(commands)} commands"
    parts = [_HEADER.pack(FORMAT_VERSION, at_unix_ms, len(commands))]
    parts.extend(_ENCODERS[type(command)](command) for command in commands)
    return b"".join(parts)


def decode_batch(data: bytes) -> tuple[int, list[Command]]:
    """Return the proposer's wall clock and the commands; `MalformedFrameError` if damaged."""
    reader = Reader(data)
    version, at_unix_ms, count = reader.fields(_HEADER)
    if version != FORMAT_VERSION:
        raise MalformedFrameError(f"a batch of format {version}, this is {FORMAT_VERSION}")
    if not 0 < count <= COMMANDS_MAX:
        raise MalformedFrameError(f"a batch of {count} commands, the limit is {COMMANDS_MAX}")
    commands: list[Command] = []
    for _ in range(count):
        decoder = _DECODERS.get(data[reader.offset] if reader.offset < len(data) else 0)
        if decoder is None:
            raise MalformedFrameError(f"no command begins at byte {reader.offset}")
        commands.append(decoder(reader))
    reader.end()
    return at_unix_ms, commands


def encode_member(member: NewMember) -> bytes:
    """Return what rides in the context of the configuration change that adds the member."""
    texts = (member.name, member.address, member.zone)
    return _MEMBER_FIELDS.pack(FORMAT_VERSION, member.member) + b"".join(map(pack_text, texts))


def decode_member(data: bytes) -> NewMember:
    reader = Reader(data)
    version, member = reader.fields(_MEMBER_FIELDS)
    if version != FORMAT_VERSION or member == 0:
        raise MalformedFrameError("not a member record of this format")
    record = NewMember(MemberId(member), reader.text(), reader.text(), reader.text())
    reader.end()
    return record


def encode_policy(policy: Policy) -> bytes:
    return _POLICY_FIELDS.pack(
        STRATEGIES.index(policy.strategy),
        policy.rebalance,
        policy.moves_in_flight_max,
        policy.partition_cooldown_ms,
        policy.coalesce_quiet_ms,
        policy.coalesce_max_ms,
        policy.voters_max,
        policy.voter_replace_after_ms,
        policy.move_deadline_ms,
        policy.load_aware,
    )


def read_policy(reader: Reader) -> Policy:
    """Read a policy as it is stored; whether it makes sense is the table's question."""
    strategy, rebalance, moves, cooldown, quiet, longest, voters, replace, deadline, load = (
        reader.fields(_POLICY_FIELDS)
    )
    if strategy >= len(STRATEGIES):
        raise MalformedFrameError(f"{strategy} is no strategy")
    return Policy(
        strategy=STRATEGIES[strategy],
        rebalance=read_flag(rebalance),
        moves_in_flight_max=moves,
        partition_cooldown_ms=cooldown,
        coalesce_quiet_ms=quiet,
        coalesce_max_ms=longest,
        voters_max=voters,
        voter_replace_after_ms=replace,
        move_deadline_ms=deadline,
        load_aware=read_flag(load),
    )


def _encode_open(command: OpenSession) -> bytes:
    fields = _OPEN_FIELDS.pack(
        command.member,
        command.previous_session,
        command.nonce,
        command.capacity,
        command.router_only,
    )
    texts = (command.name, command.address, command.zone, command.version)
    return bytes((_OPEN,)) + fields + b"".join(map(pack_text, texts))


def _decode_open(reader: Reader) -> OpenSession:
    reader.byte()
    member, previous, nonce, capacity, router_only = reader.fields(_OPEN_FIELDS)
    return OpenSession(
        member=MemberId(member),
        previous_session=SessionId(previous),
        nonce=nonce,
        name=reader.text(),
        address=reader.text(),
        zone=reader.text(),
        capacity=capacity,
        router_only=read_flag(router_only),
        version=reader.text(),
    )


def _encode_grant(command: Grant) -> bytes:
    return _GRANT_FIELDS.pack(
        _GRANT,
        command.partition,
        command.expect_epoch,
        command.member,
        command.session,
        command.cause,
    )


def _decode_grant(reader: Reader) -> Grant:
    _, partition, epoch, member, session, cause = reader.fields(_GRANT_FIELDS)
    return Grant(
        _partition(partition),
        Epoch(epoch),
        MemberId(member),
        SessionId(session),
        read_enum(Cause, cause),
    )


def _encode_revoke(command: Revoke) -> bytes:
    return _REVOKE_FIELDS.pack(
        _REVOKE, command.partition, command.expect_epoch, command.target, command.cause
    )


def _decode_revoke(reader: Reader) -> Revoke:
    _, partition, epoch, target, cause = reader.fields(_REVOKE_FIELDS)
    return Revoke(_partition(partition), Epoch(epoch), MemberId(target), read_enum(Cause, cause))


def _encode_release(command: Release) -> bytes:
    return _RELEASE_FIELDS.pack(_RELEASE, command.partition, command.epoch, command.session)


def _decode_release(reader: Reader) -> Release:
    _, partition, epoch, session = reader.fields(_RELEASE_FIELDS)
    return Release(_partition(partition), Epoch(epoch), SessionId(session))


def _decode_close(reader: Reader) -> CloseSession:
    return CloseSession(SessionId(reader.fields(_SESSION)[1]))


def _decode_expire(reader: Reader) -> ExpireSession:
    return ExpireSession(SessionId(reader.fields(_SESSION)[1]))


def _decode_intent(reader: Reader) -> SetIntent:
    _, member, intent = reader.fields(_INTENT_FIELDS)
    return SetIntent(MemberId(member), read_enum(Intent, intent))


def _encode_describe(command: DescribeMember) -> bytes:
    fields = _DESCRIBE_FIELDS.pack(_DESCRIBE, command.member, command.capacity)
    return fields + pack_text(command.zone)


def _decode_describe(reader: Reader) -> DescribeMember:
    _, member, capacity = reader.fields(_DESCRIBE_FIELDS)
    return DescribeMember(MemberId(member), reader.text(), capacity)


def _decode_require(reader: Reader) -> Require:
    return Require(LogIndex(reader.fields(_REQUIRE_FIELDS)[1]))


def _decode_pin(reader: Reader) -> Pin:
    _, partition, member = reader.fields(_PIN_FIELDS)
    return Pin(_partition(partition), MemberId(member))


def _decode_policy(reader: Reader) -> SetPolicy:
    reader.byte()
    return SetPolicy(read_policy(reader))


def _partition(value: int) -> PartitionId:
    if value >= PARTITIONS_MAX:
        raise MalformedFrameError(f"{value} is no partition")
    return PartitionId(value)


_ENCODERS: dict[type[Command], Callable[[Any], bytes]] = {
    OpenSession: _encode_open,
    CloseSession: lambda command: _SESSION.pack(_CLOSE, command.session),
    ExpireSession: lambda command: _SESSION.pack(_EXPIRE, command.session),
    Grant: _encode_grant,
    Revoke: _encode_revoke,
    Release: _encode_release,
    SetIntent: lambda command: _INTENT_FIELDS.pack(_INTENT, command.member, command.intent),
    DescribeMember: _encode_describe,
    Require: lambda command: _REQUIRE_FIELDS.pack(_REQUIRE, command.config_index),
    Pin: lambda command: _PIN_FIELDS.pack(_PIN, command.partition, command.member),
    SetPolicy: lambda command: bytes((_POLICY,)) + encode_policy(command.policy),
}

_DECODERS: dict[int, Callable[[Reader], Command]] = {
    _OPEN: _decode_open,
    _CLOSE: _decode_close,
    _EXPIRE: _decode_expire,
    _GRANT: _decode_grant,
    _REVOKE: _decode_revoke,
    _RELEASE: _decode_release,
    _INTENT: _decode_intent,
    _DESCRIBE: _decode_describe,
    _REQUIRE: _decode_require,
    _PIN: _decode_pin,
    _POLICY: _decode_policy,
}
