"""Bytes of commands and frames: what is written is read, everything else is refused."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_shard.codec import decode_batch, decode_member, encode_batch, encode_member
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
    Rejection,
    Release,
    Require,
    Revoke,
    SetIntent,
    SetPolicy,
)
from parti_shard.errors import MalformedFrameError, Reason
from parti_shard.kv_frames import KEEP_SESSIONS_MAX, KvKeep, KvKept, KvPropose, KvRefused
from parti_shard.lease import RenewAck, RenewRefusal
from parti_shard.limits import PARTITIONS_MAX
from parti_shard.policy import Policy, Strategy
from parti_shard.wire import Propose, Proposed, Renew, RenewRefused, decode_frame, encode_frame

U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
PARTITION = st.integers(0, PARTITIONS_MAX - 1)
TEXT = st.text(max_size=40)
CAUSE = st.sampled_from(Cause)
POLICY = st.builds(
    Policy,
    st.sampled_from(Strategy),
    st.booleans(),
    U32,
    U32,
    U32,
    U32,
    st.integers(0, 255),
    U32,
    U32,
    st.booleans(),
)
COMMAND = st.one_of(
    st.builds(OpenSession, U64, U64, U64, TEXT, TEXT, TEXT, U32, st.booleans(), TEXT),
    st.builds(CloseSession, U64),
    st.builds(ExpireSession, U64),
    st.builds(Grant, PARTITION, U64, U64, U64, CAUSE),
    st.builds(Revoke, PARTITION, U64, U64, CAUSE),
    st.builds(Release, PARTITION, U64, U64),
    st.builds(SetIntent, U64, st.sampled_from(Intent)),
    st.builds(Pin, PARTITION, U64),
    st.builds(SetPolicy, POLICY),
    st.builds(DescribeMember, U64, TEXT, U32),
    st.builds(Require, U64),
)
PAIRS = st.lists(st.tuples(PARTITION, U64), max_size=5).map(tuple)
FRAME = st.one_of(
    st.builds(Renew, U64, U64, U64, U64, U64, st.booleans(), st.booleans(), PAIRS, PAIRS),
    st.builds(RenewAck, U64, U64, U64),
    st.builds(RenewRefused, U64, U64, st.sampled_from(RenewRefusal)),
    st.builds(Propose, U64, st.binary(max_size=50)),
    st.builds(Proposed, U64, st.sampled_from(Reason), st.sampled_from(Rejection), U64, U64),
    st.builds(KvPropose, U64, st.binary(max_size=50)),
    st.builds(KvRefused, U64, st.sampled_from(Reason)),
    st.builds(KvKeep, U64, st.lists(U64, max_size=4).map(tuple)),
    st.builds(KvKept, U64, st.sampled_from(Reason), st.lists(st.booleans()).map(tuple)),
)
ONE_GRANT = encode_batch(5, [Grant(3, 4, 5, 6, Cause.DRAIN)])  # type: ignore[arg-type]


@given(U64, st.lists(COMMAND, min_size=1, max_size=8))
def test_a_batch_survives(at_unix_ms: int, commands: list[Command]) -> None:
    assert decode_batch(encode_batch(at_unix_ms, commands)) == (at_unix_ms, commands)


def test_every_command_is_in_the_round_trip() -> None:
    drawn = {OpenSession, CloseSession, ExpireSession, Grant, Revoke, Release, SetIntent, Pin}
    assert set(get_args(Command)) == drawn | {SetPolicy, DescribeMember, Require}
    assert len(fields(Policy)) == 10


@given(st.lists(COMMAND, min_size=1, max_size=4), st.data())
def test_a_cut_batch_is_refused(commands: list[Command], data: st.DataObject) -> None:
    whole = encode_batch(1, commands)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(MalformedFrameError):
        decode_batch(whole[:cut])


@given(st.lists(COMMAND, min_size=1, max_size=3), st.binary(min_size=1, max_size=9))
def test_bytes_left_over_are_refused(commands: list[Command], extra: bytes) -> None:
    with pytest.raises(MalformedFrameError):
        decode_batch(encode_batch(1, commands) + extra)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_read_but_never_crashes(noise: bytes) -> None:
    for decode in (decode_batch, decode_frame, decode_member):
        try:
            decode(noise)
        except MalformedFrameError:
            continue


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (0, 9, "format"),
        (9, 0, "commands"),
        (12, 255, "commands"),
        (13, 99, "no command"),
        (16, 1, "no partition"),
        (len(ONE_GRANT) - 1, 77, "no Cause"),
    ],
)
def test_values_out_of_range_are_refused(at: int, value: int, why: str) -> None:
    damaged = bytearray(ONE_GRANT)
    damaged[at] = value
    with pytest.raises(MalformedFrameError, match=why):
        decode_batch(bytes(damaged))


def test_grants_and_revokes_are_small() -> None:
    two = encode_batch(5, [Grant(3, 4, 5, 6, Cause.DRAIN)] * 2)  # type: ignore[arg-type]
    assert len(two) - len(ONE_GRANT) == 30


@given(st.integers(1, 2**64 - 1), TEXT, TEXT, TEXT)
def test_a_member_record_survives(member: int, name: str, address: str, zone: str) -> None:
    record = NewMember(member, name, address, zone)  # type: ignore[arg-type]
    assert decode_member(encode_member(record)) == record
    with pytest.raises(MalformedFrameError):
        decode_member(encode_member(record) + b"x")


def test_a_name_too_long_is_refused() -> None:
    with pytest.raises(MalformedFrameError, match="limit"):
        encode_member(NewMember(1, "n" * 256, "a"))  # type: ignore[arg-type]


@given(FRAME)
def test_a_frame_survives(frame: Renew) -> None:
    assert decode_frame(encode_frame(frame)) == frame


@given(FRAME, st.data())
def test_a_frame_cut_or_too_long_is_refused(frame: Renew, data: st.DataObject) -> None:
    whole = encode_frame(frame)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (whole[:cut], whole + b"\0"):
        with pytest.raises(MalformedFrameError):
            decode_frame(damaged)


@pytest.mark.parametrize("head", [b"\x00\x01", b"\x0a\x01", b"\x01\x02"])
def test_an_unknown_kind_or_version_of_frame_is_refused(head: bytes) -> None:
    with pytest.raises(MalformedFrameError, match="kind"):
        decode_frame(head + bytes(64))


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        (Policy(voters_max=4), "voters_max"),
        (Policy(coalesce_quiet_ms=3_000), "exceeds"),
        (Policy(moves_in_flight_max=0), "moves_in_flight_max"),
        (Policy(load_aware=True, strategy=Strategy.ROUND_ROBIN), "load_aware"),
    ],
)
def test_a_policy_names_its_contradictions(policy: Policy, named: str) -> None:
    assert any(named in sentence for sentence in policy.validate())
    assert not Policy().validate()


def test_a_frame_names_a_bounded_number_of_sessions() -> None:
    data = encode_frame(KvKeep(1, ()))
    count = (KEEP_SESSIONS_MAX + 1).to_bytes(4, "little")
    with pytest.raises(MalformedFrameError, match="sessions in a frame"):
        decode_frame(data[:-4] + count + bytes(8 * (KEEP_SESSIONS_MAX + 1)))
