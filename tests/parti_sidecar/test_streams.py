"""The stream writer: batching by itself, one write at a time, stalls, ends."""

from __future__ import annotations

import asyncio

import pytest

from parti_sidecar.streams import StreamBrokenError, StreamWriter, read_within, run_stream


class _Sink:
    """A stream that takes frames when it is told to."""

    def __init__(self) -> None:
        self.frames: list[list[int]] = []
        self.queue: list[int] = []
        self.open = asyncio.Event()
        self.open.set()
        self.writing = 0

    async def write(self, frame: list[int]) -> None:
        self.writing += 1
        assert self.writing == 1, "one write in flight"
        await self.open.wait()
        self.frames.append(frame)
        self.writing -= 1

    def take(self) -> list[int] | None:
        taken, self.queue = self.queue, []
        return taken or None


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_is_queued_while_a_write_goes_on_becomes_one_frame() -> None:
    sink = _Sink()
    writer = StreamWriter(sink.write, sink.take)
    running = asyncio.create_task(writer.run())
    sink.open.clear()
    for number in range(5):
        sink.queue.append(number)
        writer.wake()
        await _turns()
    sink.open.set()
    writer.end()
    await running
    assert sink.frames == [[0], [1, 2, 3, 4]]


async def test_a_woken_writer_writes_within_the_next_turn() -> None:
    sink = _Sink()
    writer = StreamWriter(sink.write, sink.take)
    running = asyncio.create_task(writer.run())
    await _turns()
    sink.queue.append(1)
    writer.wake()
    await asyncio.sleep(0)
    assert sink.frames == [[1]]
    writer.end()
    await running


async def test_a_write_that_stalls_gives_the_stream_up() -> None:
    sink = _Sink()
    sink.open.clear()
    sink.queue.append(1)
    writer = StreamWriter(sink.write, sink.take, stall_ms=20)
    with pytest.raises(StreamBrokenError, match="takes no frames"):
        await asyncio.wait_for(writer.run(), 5)


async def test_an_idle_writer_is_not_taken_for_stalled() -> None:
    sink = _Sink()
    writer = StreamWriter(sink.write, sink.take, stall_ms=5)
    running = asyncio.create_task(writer.run())
    done, _ = await asyncio.wait({running}, timeout=0.05)
    assert not done
    writer.end()
    await running


async def test_a_failed_write_says_that_the_stream_is_broken() -> None:
    async def fails(_frame: list[int]) -> None:
        raise RuntimeError("internals of gRPC")

    sink = _Sink()
    sink.queue.append(1)
    with pytest.raises(StreamBrokenError) as caught:
        await StreamWriter(fails, sink.take).run()
    assert "internals" not in str(caught.value)


async def test_an_error_while_taking_is_not_hidden() -> None:
    def takes() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await StreamWriter(_Sink().write, takes).run()


async def test_the_end_of_one_direction_stops_the_other() -> None:
    sink = _Sink()
    ended = asyncio.Event()

    async def reads_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    writer = StreamWriter(sink.write, sink.take)
    writer.end()
    await run_stream(reads_for_ever(), writer)
    assert ended.is_set()


async def test_the_error_of_the_reader_is_raised() -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    sink = _Sink()
    with pytest.raises(ZeroDivisionError):
        await run_stream(fails(), StreamWriter(sink.write, sink.take), linger_ms=60_000)


async def test_a_writer_that_lingers_has_a_limit() -> None:
    async def ends() -> None:
        return

    sink = _Sink()
    writer = StreamWriter(sink.write, sink.take)
    await asyncio.wait_for(run_stream(ends(), writer, linger_ms=20), 5)


async def test_a_read_has_a_limit() -> None:
    class Silent:
        async def read(self) -> None:
            await asyncio.Event().wait()

    with pytest.raises(StreamBrokenError, match="no frame within 10 ms"):
        await read_within(Silent(), 10)
