"""What a worker says leaves in the right order and in frames of a good size."""

from __future__ import annotations

from parti import Executed, Reason
from parti import _limits as limits
from parti._outbox import Outbox
from parti_proto import errors_pb2


async def test_released_leaves_after_the_last_result() -> None:
    outbox = Outbox(lambda: None)
    outbox.start(1, 1)
    for message_id in (1, 2):
        outbox.succeed(message_id, bytes(limits.FRAME_BYTES_TARGET))
    outbox.release(0, 1)
    outbox.close()
    first, second = outbox.take(), outbox.take()
    assert first is not None
    assert second is not None
    assert [(list(one.results.id), len(one.released), one.closing) for one in (first, second)] == [
        ([1], 0, False),
        ([2], 1, True),
    ]
    assert len(first.started) == 1
    assert outbox.take() is None


async def test_results_of_one_turn_share_a_frame_until_it_is_full() -> None:
    outbox = Outbox(lambda: None)
    part = limits.FRAME_BYTES_TARGET // 4
    for message_id in range(6):
        outbox.succeed(message_id, bytes(part))
    frames = [outbox.take(), outbox.take()]
    assert [list(one.results.id) for one in frames if one is not None] == [[0, 1, 2, 3], [4, 5]]
    assert outbox.take() is None


async def test_errors_name_their_position_in_their_own_frame() -> None:
    outbox = Outbox(lambda: None)
    outbox.succeed(1, bytes(limits.FRAME_BYTES_TARGET))
    outbox.succeed(2, b"ok")
    outbox.fail(3, Reason.STALE_EPOCH, Executed.NO, "x" * 5_000)
    outbox.take()
    frame = outbox.take()
    assert frame is not None
    (error,) = frame.results.errors
    assert (list(frame.results.id), error.position) == ([2, 3], 1)
    assert error.detail.reason == errors_pb2.REASON_STALE_EPOCH
    assert len(error.detail.message) == limits.ERROR_TEXT_CHARS_MAX
