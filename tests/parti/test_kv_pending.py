"""Writes and reads between call and outcome, without a loop's clock or a stream."""

from __future__ import annotations

import asyncio

import pytest

from parti import _limits as limits
from parti._errors import Executed, PartiError, Reason
from parti._kv_pending import NO_CONDITION, Pending, Read, Write, Writes
from parti._kv_values import Entry
from parti_proto import errors_pb2, kv_pb2

LATE = 100.0


@pytest.fixture
async def pending() -> Pending:
    made = Pending()
    writes = Writes()
    writes.session = 7
    made.all_writes.append(writes)
    return made


def offer(pending: Pending, value: bytes = b"v", deadline: float = LATE) -> Write:
    future = asyncio.get_running_loop().create_future()
    write = Write(int(kv_pb2.KV_OP_PUT), b"k", value, NO_CONDITION, deadline, future)
    pending.all_writes[0].queued.append(write)
    return write


def ask(pending: Pending, key: bytes = b"k", deadline: float = LATE) -> Read:
    read = Read(key, deadline, asyncio.get_running_loop().create_future())
    pending.reads.append(read)
    return read


def frame(pending: Pending, now: float = 0.0) -> kv_pb2.KvFrame:
    taken = pending.take_frame(now)
    assert taken is not None
    return taken


def ok(*seqs: int) -> kv_pb2.KvAnswers:
    return kv_pb2.KvAnswers(session=7, seq=seqs, revision=[10 + seq for seq in seqs])


def refused(status: kv_pb2.KvStatus, *seqs: int) -> kv_pb2.KvAnswers:
    answers = ok(*seqs)
    answers.status.extend([status] * len(seqs))
    return answers


def failed(
    reason: errors_pb2.Reason,
    executed: errors_pb2.Executed = errors_pb2.EXECUTED_NO,
    seqs: tuple[int, ...] = (),
    reads: tuple[int, ...] = (),
) -> kv_pb2.KvAnswers:
    detail = errors_pb2.ErrorDetail(reason=reason, executed=executed)
    refusal = kv_pb2.KvRefusal(seq=seqs, read_id=reads, detail=detail)
    return kv_pb2.KvAnswers(session=7, refused=[refusal])


def error(write: Write | Read) -> tuple[Reason, Executed]:
    raised = write.future.exception()
    assert isinstance(raised, PartiError), raised
    return raised.reason, raised.executed


async def test_what_is_queued_goes_out_as_one_frame(pending: Pending) -> None:
    writes = [offer(pending, b"%d" % number) for number in range(3)]
    read = ask(pending)
    sent = frame(pending)
    assert list(sent.seq) == [0, 1, 2]
    assert list(sent.read_key) == [b"k"]
    assert not sent.op
    assert not sent.expect
    pending.answer(ok(0, 1, 2), 0.0)
    assert [write.future.result() for write in writes] == [(0, 10, b""), (0, 11, b""), (0, 12, b"")]
    pending.answer(
        kv_pb2.KvAnswers(
            read_id=sent.read_id, read_revision=[5], read_created=[4], read_value=[b"x"]
        ),
        0.0,
    )
    assert read.future.result() == Entry(b"x", 5, 4)
    assert pending.take_frame(0.0) is None


async def test_a_write_sent_again_keeps_its_number(pending: Pending) -> None:
    for _ in range(3):
        offer(pending)
    frame(pending)
    pending.answer(ok(1), 0.0)
    pending.stream_lost()
    late = offer(pending)
    sent = frame(pending)
    assert list(sent.seq) == [0, 2, 3]
    assert late.seq == 3
    assert sent.acknowledged_below == 0
    pending.answer(ok(0), 0.0)
    offer(pending)
    assert frame(pending).acknowledged_below == 2


async def test_a_write_whose_outcome_is_open_is_not_repeated_twice(pending: Pending) -> None:
    offer(pending)
    frame(pending)
    pending.stream_lost()
    pending.stream_lost()
    assert list(frame(pending).seq) == [0]


async def test_the_window_is_kept(pending: Pending) -> None:
    pending.window = 2
    writes = [offer(pending) for _ in range(4)]
    assert list(frame(pending).seq) == [0, 1]
    assert pending.take_frame(0.0) is None
    pending.answer(ok(1), 0.0)
    assert pending.take_frame(0.0) is None, "0 is not answered: 2 is outside of its window"
    pending.answer(ok(0), 0.0)
    assert list(frame(pending).seq) == [2, 3]
    assert writes[0].future.done()


async def test_frames_are_bounded(pending: Pending) -> None:
    pending.window = 10_000
    for _ in range(limits.FRAME_ITEMS_MAX + 1):
        offer(pending, b"")
    assert len(frame(pending).seq) == limits.FRAME_ITEMS_MAX
    frame(pending)
    for _ in range(3):
        offer(pending, bytes(limits.FRAME_BYTES_TARGET))
    assert len(frame(pending).seq) == 1


async def test_no_more_reads_than_the_sidecar_takes(pending: Pending) -> None:
    pending.reads_max = 2
    for _ in range(3):
        ask(pending)
    assert len(frame(pending).read_id) == 2
    assert pending.take_frame(0.0) is None


async def test_nothing_goes_out_before_the_session_is_open(pending: Pending) -> None:
    pending.all_writes[0].session = 0
    offer(pending)
    assert pending.take_frame(0.0) is None


async def test_a_passing_refusal_is_followed_by_a_pause_and_another_attempt(
    pending: Pending,
) -> None:
    offer(pending)
    ask(pending)
    frame(pending)
    pending.answer(failed(errors_pb2.REASON_NO_LEADER, seqs=(0,), reads=(0,)), 0.0)
    assert pending.take_frame(0.0) is None
    again = frame(pending, pending.paused_until)
    assert list(again.seq) == [0]
    assert list(again.read_key) == [b"k"]


async def test_pauses_grow_until_something_is_answered(pending: Pending) -> None:
    offer(pending)
    pauses = []
    now = 0.0
    for _ in range(10):
        frame(pending, now)
        pending.answer(failed(errors_pb2.REASON_OVERLOADED, seqs=(0,)), now)
        pauses.append(round(pending.paused_until - now, 6))
        now = pending.paused_until
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(limits.RETRY_DELAY_MS_MAX / 1000)
    frame(pending, now)
    pending.answer(ok(0), now)
    offer(pending)
    frame(pending, now)
    pending.answer(failed(errors_pb2.REASON_OVERLOADED, seqs=(1,)), now)
    assert pending.paused_until - now == pytest.approx(limits.RETRY_DELAY_MS / 1000)


async def test_a_lasting_refusal_of_the_first_attempt_was_not_executed(pending: Pending) -> None:
    write = offer(pending)
    read = ask(pending)
    frame(pending)
    pending.answer(failed(errors_pb2.REASON_INVALID_ARGUMENT, seqs=(0,), reads=(0,)), 0.0)
    assert error(write) == (Reason.INVALID_ARGUMENT, Executed.NO)
    assert error(read) == (Reason.INVALID_ARGUMENT, Executed.NO)


@pytest.mark.parametrize("status", [kv_pb2.KV_STATUS_STORE_FULL, kv_pb2.KV_STATUS_LOCKS_FULL])
async def test_after_an_earlier_attempt_a_refusal_leaves_the_outcome_open(
    pending: Pending, status: kv_pb2.KvStatus
) -> None:
    first = offer(pending)
    frame(pending)
    pending.answer(refused(status, 0), 0.0)
    assert error(first) == (Reason.STORE_FULL, Executed.NO)
    second = offer(pending)
    frame(pending)
    pending.stream_lost()
    frame(pending)
    pending.answer(refused(status, 1), 0.0)
    assert error(second) == (Reason.STORE_FULL, Executed.UNKNOWN)


async def test_a_full_window_is_tried_again(pending: Pending) -> None:
    offer(pending)
    frame(pending)
    pending.answer(refused(kv_pb2.KV_STATUS_WINDOW_FULL, 0), 0.0)
    assert list(frame(pending, pending.paused_until).seq) == [0]


async def test_a_session_that_is_over_gives_back_what_was_sent_once_and_refused(
    pending: Pending,
) -> None:
    writes = pending.all_writes[0]
    twice, once, under_way, queued = (offer(pending) for _ in range(4))
    writes.queued.pop()
    frame(pending)
    pending.stream_lost()
    for write in (once, under_way):
        write.attempts = 0
    frame(pending)
    writes.queued.append(queued)
    pending.answer(refused(kv_pb2.KV_STATUS_SESSION_OVER, 0, 1), 0.0)
    assert writes.over
    assert error(twice) == (Reason.SESSION_OVER, Executed.UNKNOWN)
    assert writes.leave() == [once, queued]
    assert once.seq == -1
    assert list(writes.sent) == [under_way.seq], "its own answer will tell"
    pending.answer(ok(under_way.seq), 0.0)
    pending.expire(0.0)
    assert pending.all_writes == []


async def test_what_is_too_late_is_given_up(pending: Pending) -> None:
    sent, read_sent = offer(pending, deadline=1.0), ask(pending, deadline=1.0)
    frame(pending)
    unsent, read = offer(pending, deadline=1.0), ask(pending, deadline=1.0)
    keeps, read_keeps = offer(pending), ask(pending)
    pending.expire(2.0)
    assert error(sent) == (Reason.DEADLINE_EXCEEDED, Executed.UNKNOWN)
    assert error(unsent) == (Reason.DEADLINE_EXCEEDED, Executed.NO)
    for each in (read, read_sent):
        assert error(each) == (Reason.DEADLINE_EXCEEDED, Executed.NO)
    assert not keeps.future.done()
    assert not read_keeps.future.done()
    assert frame(pending, 2.0).acknowledged_below == 1


async def test_what_is_too_late_is_not_sent(pending: Pending) -> None:
    write, read = offer(pending, deadline=1.0), ask(pending, deadline=1.0)
    assert pending.take_frame(2.0) is None
    assert error(write)[1] is Executed.NO
    assert error(read)[1] is Executed.NO


async def test_who_has_stopped_waiting_blocks_nobody(pending: Pending) -> None:
    write = offer(pending)
    frame(pending)
    write.future.cancel()
    pending.expire(0.0)
    assert pending.all_writes[0].acknowledged_below == 1


async def test_at_rest_the_last_answers_are_acknowledged_once(pending: Pending) -> None:
    writes = pending.all_writes[0]
    offer(pending)
    frame(pending)
    pending.answer(ok(0), 0.0)
    writes.come_to_rest()
    at_rest = frame(pending)
    assert (at_rest.session, at_rest.acknowledged_below, len(at_rest.seq)) == (7, 1, 0)
    writes.come_to_rest()
    assert pending.take_frame(0.0) is None


async def test_sessions_take_turns(pending: Pending) -> None:
    other = Writes()
    other.session = 8
    pending.all_writes.append(other)
    for _ in range(2):
        write = offer(pending)
        other.queued.append(write)
        pending.all_writes[0].queued.append(write)
    assert {frame(pending).session, frame(pending).session} == {7, 8}


async def test_at_the_end_everything_has_an_outcome(pending: Pending) -> None:
    sent, read_sent = offer(pending), ask(pending)
    frame(pending)
    unsent, read = offer(pending), ask(pending)
    closed = PartiError("closed", Reason.DRAINING, Executed.NO)
    pending.refuse_all(closed)
    assert error(sent)[1] is Executed.UNKNOWN
    for each in (unsent, read, read_sent):
        assert error(each) == (Reason.DRAINING, Executed.NO)
