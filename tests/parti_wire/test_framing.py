"""Frames on a stream of bytes: whole, in pieces of any size, too large, of no kind."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_proto import errors_pb2
from parti_wire.errors import BadFrameError, FrameTooLargeError
from parti_wire.framing import HEADER_BYTES, FrameKind, FrameSplitter, framed

LIMIT = 1_000

FRAMES = st.lists(st.tuples(st.sampled_from(FrameKind), st.binary(max_size=50)), max_size=20)


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(FRAMES, st.lists(st.integers(min_value=0), max_size=20))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[FrameKind, bytes]], cuts: list[int]
) -> None:
    splitter = FrameSplitter(LIMIT)
    data = b"".join(framed(kind, body) for kind, body in frames)
    assert [each for piece in _pieces(data, cuts) for each in splitter.feed(piece)] == frames


def test_the_layout_is_that_of_the_protocol() -> None:
    assert framed(FrameKind.DATA, b"abc") == b"\x00\x00\x00\x03\x03abc"
    assert [int(kind) for kind in FrameKind] == [1, 2, 3, 4, 5, 6, 7]


def test_a_frame_of_the_limit_is_taken_and_one_above_is_refused_by_its_header_alone() -> None:
    splitter = FrameSplitter(LIMIT)
    largest = framed(FrameKind.DATA, bytes(LIMIT))
    assert list(splitter.feed(largest)) == [(FrameKind.DATA, bytes(LIMIT))]
    above = framed(FrameKind.DATA, bytes(LIMIT + 1))
    with pytest.raises(FrameTooLargeError) as caught:
        list(splitter.feed(above[:HEADER_BYTES]))
    assert caught.value.detail == errors_pb2.ErrorDetail(
        reason=errors_pb2.REASON_PAYLOAD_TOO_LARGE,
        executed=errors_pb2.EXECUTED_NO,
        message="a frame of 1001 bytes, limit 1000",
    )


def test_the_limit_can_be_raised_between_two_frames() -> None:
    splitter = FrameSplitter(1)
    first, second = framed(FrameKind.HELLO, b"h"), framed(FrameKind.DATA, b"data")
    taken = []
    for kind, body in splitter.feed(first + second):
        taken.append((kind, body))
        splitter.bytes_max = 4
    assert taken == [(FrameKind.HELLO, b"h"), (FrameKind.DATA, b"data")]


@pytest.mark.parametrize("number", [0, 8, 255])
def test_an_unknown_kind_is_malformed_and_what_came_before_counts(number: int) -> None:
    splitter = FrameSplitter(LIMIT)
    data = framed(FrameKind.DATA, b"good") + bytes([0, 0, 0, 0, number])
    feeding = splitter.feed(data)
    assert next(feeding) == (FrameKind.DATA, b"good")
    with pytest.raises(BadFrameError, match=f"kind {number}"):
        next(feeding)


def test_a_long_frame_in_small_pieces_is_not_searched_again_with_each() -> None:
    """A frame of many pieces is put together once; what waits is never more than the limit."""
    body = random.Random(1).randbytes(256 << 10)
    splitter = FrameSplitter(len(body))
    data = framed(FrameKind.DATA, body)
    taken = [each for at in range(0, len(data), 16) for each in splitter.feed(data[at : at + 16])]
    assert taken == [(FrameKind.DATA, body)]
    assert not splitter._rest
