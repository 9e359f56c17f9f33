"""Raft messages on the wire: whatever is encoded comes back, whatever is damaged is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_raft.codec import (
    MalformedMessageError,
    decode_conf_state,
    decode_message,
    encode_conf_state,
    encode_message,
)
from parti_raft.types import (
    ConfState,
    Entry,
    EntryType,
    LogIndex,
    MemberId,
    Message,
    MessageType,
    Snapshot,
    Term,
)

numbers = st.integers(0, (1 << 64) - 1)
blobs = st.binary(max_size=40)
members = st.lists(numbers.map(MemberId), max_size=4).map(tuple)
entries = st.builds(
    Entry, numbers.map(Term), numbers.map(LogIndex), st.sampled_from(EntryType), blobs
)
conf_states = st.builds(ConfState, members, members, members, members, auto_leave=st.booleans())
snapshots = st.builds(Snapshot, numbers.map(LogIndex), numbers.map(Term), conf_states, blobs)
messages = st.builds(
    Message,
    type=st.sampled_from(MessageType),
    to=numbers.map(MemberId),
    sender=numbers.map(MemberId),
    term=numbers.map(Term),
    log_term=numbers.map(Term),
    index=numbers.map(LogIndex),
    commit=numbers.map(LogIndex),
    vote=numbers.map(MemberId),
    entries=st.lists(entries, max_size=4).map(tuple),
    snapshot=st.none() | snapshots,
    reject=st.booleans(),
    reject_hint=numbers.map(LogIndex),
    context=blobs,
)


@given(messages)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@given(conf_states)
def test_a_membership_comes_back_as_it_was(conf: ConfState) -> None:
    assert decode_conf_state(encode_conf_state(conf)) == conf


@given(messages, st.data())
def test_a_message_cut_short_is_refused(message: Message, data: st.DataObject) -> None:
    whole = encode_message(message)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(MalformedMessageError):
        decode_message(whole[:cut])


@given(messages, st.binary(min_size=1, max_size=9))
def test_bytes_left_over_are_refused(message: Message, extra: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        decode_message(encode_message(message) + extra)


@given(st.binary(max_size=300))
def test_noise_is_refused_or_decodes_without_another_error(noise: bytes) -> None:
    try:
        decode_message(noise)
    except MalformedMessageError:
        return
    assert noise[0] == 1, "only this format version decodes"


@pytest.mark.parametrize(("position", "value"), [(0, 2), (0, 0), (1, 200), (2, 0x80)])
def test_unknown_versions_types_and_flags_are_refused(position: int, value: int) -> None:
    damaged = bytearray(encode_message(Message(MessageType.HEARTBEAT)))
    damaged[position] = value
    with pytest.raises(MalformedMessageError):
        decode_message(bytes(damaged))
