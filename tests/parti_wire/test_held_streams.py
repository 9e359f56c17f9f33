"""Streams that are not read for a while, and ends that must arrive in spite of unread bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from parti_shard.errors import Failure, PartiError, Reason
from parti_sidecar.stream_sides import TO_MEMBERS
from parti_wire import frame_stream
from tests.parti_sidecar.api_clients import until
from tests.parti_sidecar.raw_streams import DATA, END, frame
from tests.parti_wire.stream_world import on_uvloop, raw_stream


@pytest.mark.parametrize("on", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_held_stream_takes_nothing_in_until_it_goes_on(
    on: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    async def hold() -> None:
        async with raw_stream() as (user, raw):
            stream = user.stream
            assert stream is not None

            def take_in(body: bytes) -> None:
                user.bodies.append(body)
                stream.hold()

            user.on_frame = take_in
            sending = asyncio.create_task(raw.send(*[frame(DATA, bytes(100_000))] * 100))
            await until(lambda: user.bodies, "the first frame")
            for number in range(1, 101):
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert len(user.bodies) == number
                stream.go_on()
                stream.go_on()
                await until(lambda: len(user.bodies) > number or number == 100)  # noqa: B023
            await sending

    on(hold())


@on_uvloop
async def test_who_is_not_listened_to_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_stream, "LOOK_EVERY_MS", 1)
    monkeypatch.setattr(frame_stream, "PING_AFTER_MS", 5)
    async with raw_stream(side=replace(TO_MEMBERS, answer_ms=5)) as (user, raw):
        assert user.stream is not None
        user.stream.hold()
        await raw.send(frame(DATA, b"x"))
        looks = 0
        look = user.stream._look_for_silence

        def count() -> None:
            nonlocal looks
            looks += 1
            look()

        monkeypatch.setattr(user.stream, "_look_for_silence", count)
        await until(lambda: looks > 50, "the looks")
        assert user.error is None
        user.stream.go_on()
        await until(lambda: user.bodies, "the frame")


@on_uvloop
async def test_a_held_stream_that_ends_hears_the_other_end() -> None:
    async with raw_stream() as (user, raw):
        assert user.stream is not None
        user.stream.hold()
        user.stream.end(PartiError(Failure(Reason.CONFLICT)))
        assert (await raw.read())[0] == END
        await raw.send(frame(DATA, b"late"))
        raw.stop_sending()
        begun = asyncio.get_running_loop().time()
        await user.stream.closed
        assert asyncio.get_running_loop().time() - begun < frame_stream.LINGER_MS / 2_000
        assert not user.bodies


@on_uvloop
async def test_a_stream_that_finishes_lets_its_words_arrive_in_spite_of_unread_bytes() -> None:
    async with raw_stream() as (user, raw):
        assert user.stream is not None
        user.send(b"last")
        user.stream.finish()
        user.stream.finish()
        assert user.stream.ended_silently
        await raw.send(frame(DATA, bytes(1 << 20)))
        assert await raw.read() == (DATA, b"last")
        with pytest.raises(EOFError):
            await raw.read()
