"""A stream of frames on real sockets: batches by itself, back pressure, liveness, ways to end."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from parti_shard.errors import Executed, Failure, MalformedFrameError, PartiError, Reason
from parti_sidecar.status import INTERNAL_TEXT
from parti_sidecar.stream_sides import TO_MEMBERS
from parti_wire import frame_stream
from parti_wire.framing import FrameKind
from tests.parti_sidecar.api_clients import until
from tests.parti_sidecar.raw_streams import DATA, END, PING, PONG, RawStream, frame
from tests.parti_wire.stream_world import User, listening, on_uvloop, pair, raw_stream


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
@on_uvloop
async def test_frames_go_both_ways_in_order(address: str) -> None:
    user = User()
    async with listening(user, address) as bound, RawStream(bound) as raw:
        await raw.send(frame(1, b"hello"), *(frame(DATA, b"%d" % n) for n in range(50)))
        await until(lambda: len(user.bodies) == 50, "the frames")
        assert user.first == [(FrameKind.HELLO, b"hello")]
        assert user.bodies == [b"%d" % n for n in range(50)]
        user.send(b"answer")
        assert await raw.read() == (DATA, b"answer")


@on_uvloop
async def test_the_first_frame_of_a_turn_leaves_at_once_and_the_rest_share_one() -> None:
    async with raw_stream() as (user, raw):
        for number in range(10):
            user.send(b"%d" % number)
        assert user.takes == 2, "one frame, and then nothing was left"
        assert len(user.queue) == 9
        assert await raw.read() == (DATA, b"0")
        assert await raw.read() == (DATA, b"123456789")


@on_uvloop
async def test_who_has_more_in_this_turn_gets_it_into_one_frame() -> None:
    async with raw_stream() as (user, raw):
        assert user.stream is not None
        for number in range(10):
            user.queue.append(b"%d" % number)
            user.stream.wake_soon()
        assert user.takes == 0
        assert await raw.read() == (DATA, b"0123456789")
        assert user.takes == 2, "one frame, and then nothing was left"


@on_uvloop
async def test_an_idle_stream_takes_nothing_by_itself() -> None:
    async with raw_stream() as (user, raw):
        user.send(b"x")
        await raw.read()
        takes = user.takes
        await raw.send(frame(DATA, b"y"))
        await until(lambda: user.bodies, "the frame")
        assert user.takes == takes


@on_uvloop
async def test_nothing_is_taken_while_the_other_side_does_not_read() -> None:
    async with pair() as (one, two):
        assert one.stream is not None
        assert two.stream is not None
        two.stream._transport.pause_reading()  # type: ignore[union-attr]
        sent = 0
        while not one.queue:
            one.send(bytes(100_000))
            sent += 1
            await asyncio.sleep(0)
            assert sent < 1_000, "there is no back pressure"
        for _ in range(20):
            one.send(bytes(100_000))
            sent += 1
            await asyncio.sleep(0)
        assert len(one.queue) >= 20
        assert one.stream._transport.get_write_buffer_size() < 1 << 20  # type: ignore[union-attr]
        two.stream._transport.resume_reading()  # type: ignore[union-attr]
        await until(lambda: sum(map(len, two.bodies)) == sent * 100_000, "the rest")
        assert len(two.bodies) < sent, "what waited went out as one frame"


@on_uvloop
async def test_a_side_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_stream, "LOOK_EVERY_MS", 10)
    monkeypatch.setattr(frame_stream, "WRITE_STALL_MS", 50)
    async with pair() as (one, two):
        assert two.stream is not None
        two.stream._transport.pause_reading()  # type: ignore[union-attr]
        while one.error is None:
            one.send(bytes(1 << 20))
            await asyncio.sleep(0.001)
        assert one.failure.reason is Reason.CONNECTION_LOST
        assert "takes no frames" in one.failure.message


@on_uvloop
async def test_silence_is_asked_about_and_an_answer_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frame_stream, "LOOK_EVERY_MS", 10)
    monkeypatch.setattr(frame_stream, "PING_AFTER_MS", 50)
    async with raw_stream() as (user, raw):
        for _ in range(3):
            assert await raw.read() == (PING, b"")
            await raw.send(frame(PONG))
        assert user.error is None


@on_uvloop
async def test_a_silent_side_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a frozen process: its kernel confirms, it says nothing."""
    monkeypatch.setattr(frame_stream, "LOOK_EVERY_MS", 10)
    monkeypatch.setattr(frame_stream, "PING_AFTER_MS", 50)
    async with raw_stream(side=replace(TO_MEMBERS, answer_ms=30)) as (user, _):
        await until(lambda: user.error, "the end")
        assert user.failure.reason is Reason.CONNECTION_LOST
        assert "nothing was heard for 80 ms" in user.failure.message


@on_uvloop
async def test_looks_are_not_caught_up_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process itself stood still: the answer may be there and not be read yet."""
    monkeypatch.setattr(frame_stream, "LOOK_EVERY_MS", 1)
    monkeypatch.setattr(frame_stream, "PING_AFTER_MS", 1_000_000)
    async with raw_stream() as (user, raw):
        assert user.stream is not None
        await raw.send(frame(DATA, b"x"))
        await until(lambda: user.bodies, "the frame")
        stopping = socket.socketpair()
        stopping[0].settimeout(0.2)
        with pytest.raises(TimeoutError):
            stopping[0].recv(1)  # the event loop stands still
        for each in stopping:
            each.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert user.stream._silent_ms < 100


@on_uvloop
async def test_a_ping_is_answered() -> None:
    async with raw_stream() as (_, raw):
        await raw.send(frame(PING))
        assert await raw.read() == (PONG, b"")


@on_uvloop
async def test_a_side_that_does_not_read_gets_no_heap_of_answers() -> None:
    async with raw_stream() as (user, raw):
        assert user.stream is not None
        user.stream.pause_writing()
        await raw.send(frame(PING), frame(DATA, b"x"))
        await until(lambda: user.bodies, "the frame after the ping")
        user.stream.resume_writing()
        user.send(b"y")
        assert await raw.read() == (DATA, b"y"), "no answer, neither at once nor later"


@on_uvloop
async def test_the_reason_of_this_side_is_told_and_arrives_in_spite_of_unread_bytes() -> None:
    async with raw_stream(bytes_max=10) as (user, raw):
        await raw.send(frame(DATA, b"good"), frame(DATA, bytes(3 << 20)))
        failure = await raw.ends_with()
        assert failure.reason is Reason.PAYLOAD_TOO_LARGE
        assert user.failure == failure
        assert user.bodies == [b"good"]


@on_uvloop
async def test_nothing_is_heard_after_the_end() -> None:
    async with raw_stream() as (user, raw):
        assert user.stream is not None
        user.stream.end(PartiError(Failure(Reason.CONFLICT, Executed.UNKNOWN, "replaced")))
        await raw.send(frame(DATA, b"late"))
        assert (await raw.ends_with()).message == "replaced"
        user.send(b"too late")
        user.stream.say(FrameKind.ACCEPTED)
        user.stream.end(PartiError(Failure(Reason.CONFLICT, Executed.UNKNOWN, "once more")))
        assert not user.bodies


@on_uvloop
async def test_one_who_stays_after_the_last_frame_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frame_stream, "LINGER_MS", 50)
    async with raw_stream() as (user, raw):
        assert user.stream is not None
        user.stream.end(PartiError(Failure(Reason.CONFLICT)))
        assert (await raw.read())[0] == END
        async with asyncio.timeout(5):
            await user.stream.closed


@on_uvloop
async def test_the_reason_of_the_other_side_is_known_here() -> None:
    async with pair() as (one, two):
        assert two.stream is not None
        said = Failure(Reason.DRAINING, Executed.UNKNOWN, "I leave")
        two.stream.end(PartiError(said))
        await until(lambda: one.error, "the end")
        assert one.failure == two.failure == said


@pytest.mark.parametrize("body", [b"\xff\xff garbage", frame(DATA, b"\xff")])
@on_uvloop
async def test_an_end_that_cannot_be_read_is_malformed(body: bytes) -> None:
    async with raw_stream() as (user, raw):
        await raw.send(frame(END, body))
        assert (await raw.ends_with()).reason is Reason.MALFORMED_FRAME
        assert user.failure.reason is Reason.MALFORMED_FRAME


@on_uvloop
async def test_a_user_may_refuse_a_frame_and_is_asked_no_more() -> None:
    def refuse(_body: bytes) -> None:
        raise MalformedFrameError("not this one")

    async with raw_stream() as (user, raw):
        user.on_frame = refuse
        await raw.send(frame(DATA, b"1"), frame(DATA, b"2"))
        assert (await raw.ends_with()).message == "not this one"
        assert user.failure.message == "not this one"


@on_uvloop
async def test_a_refusal_on_a_connection_that_is_gone_is_harmless() -> None:
    async with raw_stream() as (user, raw):

        def break_off(_body: bytes) -> None:
            assert user.stream is not None
            user.stream._transport.abort()  # type: ignore[union-attr]
            raise MalformedFrameError("and nobody hears it")

        user.on_frame = break_off
        await raw.send(frame(DATA, b"1"))
        await until(lambda: user.stream and user.stream.closed.done(), "the end")
        assert user.failure.message == "and nobody hears it"


@on_uvloop
async def test_the_words_of_a_bug_stay_inside() -> None:
    def break_down(_body: bytes) -> None:
        raise ValueError("secret")

    async with raw_stream() as (user, raw):
        user.on_frame = break_down
        await raw.send(frame(DATA, b"1"))
        failure = await raw.ends_with()
        assert (failure.reason, failure.message) == (Reason.INTERNAL, INTERNAL_TEXT)
        assert failure.executed is Executed.UNKNOWN
        assert isinstance(user.error, ValueError)


@on_uvloop
async def test_a_bug_while_taking_ends_the_stream_and_not_who_woke_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def break_down() -> bytes:
        raise ZeroDivisionError

    async with raw_stream() as (user, raw):
        monkeypatch.setattr(user, "take", break_down)
        user.send(b"x")
        assert isinstance(user.error, ZeroDivisionError)
        assert (await raw.ends_with()).reason is Reason.INTERNAL


@on_uvloop
async def test_the_end_without_a_word_is_told_apart_from_a_broken_connection() -> None:
    async with raw_stream() as (user, raw):
        raw.stop_sending()
        await until(lambda: user.error, "the end")
        assert user.stream is not None
        assert user.stream.ended_silently
        assert user.failure.reason is Reason.CONNECTION_LOST
        await raw.ends()
    async with raw_stream() as (user, raw):
        raw.reset()
        await until(lambda: user.error, "the end")
        assert user.stream is not None
        assert not user.stream.ended_silently
        assert user.failure.reason is Reason.CONNECTION_LOST
        assert user.failure.executed is Executed.UNKNOWN


@on_uvloop
async def test_a_close_sends_what_was_written() -> None:
    async with raw_stream() as (user, raw):
        assert user.stream is not None
        user.send(b"last")
        user.stream.close()
        assert await raw.read() == (DATA, b"last")
        with pytest.raises(EOFError):
            await raw.read()
        await user.stream.closed
        user.stream.close()
