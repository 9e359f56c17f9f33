"""The book of unsettled messages, without loop, clock or stream."""

from __future__ import annotations

import pytest

from parti import NotExecuted, PartiError, Reason, Reply, UnknownOutcome
from parti import _limits as limits
from parti._pending import BY_KEY, GRACE_S, NEVER, Item, Pending
from parti_proto import app_pb2, errors_pb2


class Outcomes:
    def __init__(self) -> None:
        self.abandoned = False
        self.by_index: dict[int, Reply | PartiError] = {}

    def settle(self, index: int, outcome: Reply | PartiError) -> None:
        assert index not in self.by_index, "settled twice"
        self.by_index[index] = outcome

    def item(
        self,
        index: int,
        *,
        deadline: float = 30.0,
        payload: bytes = b"p",
        key: bytes = b"",
        headers: bytes = b"",
        idempotent: bool = False,
    ) -> Item:
        partition = BY_KEY if key else index
        return Item(partition, key, payload, headers, idempotent, deadline, None, self, index)

    def error(self, index: int) -> PartiError:
        outcome = self.by_index[index]
        assert isinstance(outcome, PartiError)
        return outcome


def refusal(
    reason: errors_pb2.Reason,
    executed: errors_pb2.Executed = errors_pb2.EXECUTED_NO,
    retry_after_ms: int = 0,
    item_id: int = 1,
) -> app_pb2.ResultFrame:
    detail = errors_pb2.ErrorDetail(
        reason=reason, executed=executed, retry_after_ms=retry_after_ms, message="because"
    )
    return app_pb2.ResultFrame(
        id=[item_id], errors=[errors_pb2.ItemError(position=0, detail=detail)]
    )


def lost() -> PartiError:
    return UnknownOutcome("gone", Reason.CONNECTION_LOST)


def sent_one(*, idempotent: bool = False, retry: bool = True) -> tuple[Pending, Outcomes]:
    pending, outcomes = Pending(retry=retry), Outcomes()
    pending.offer(outcomes.item(0, idempotent=idempotent))
    assert pending.take_frame(0.0, 10) is not None
    return pending, outcomes


def test_frame_carries_every_side_of_its_messages() -> None:
    pending, outcomes = Pending(retry=True), Outcomes()
    pending.offer(outcomes.item(0, deadline=1.5))
    pending.offer(outcomes.item(1, key=b"k", headers=b"h", idempotent=True))
    frame = pending.take_frame(1.0, 10)
    assert frame is not None
    assert list(frame.id) == [1, 2]
    assert list(frame.partition) == [0, BY_KEY]
    assert list(frame.key) == [b"", b"k"]
    assert list(frame.timeout_ms) == [500, 29_000]
    assert (list(frame.idempotent_at), list(frame.headers_at)) == ([1], [1])
    assert list(frame.headers) == [b"h"]


def test_frame_without_keys_leaves_the_array_empty() -> None:
    pending, outcomes = Pending(retry=True), Outcomes()
    pending.offer(outcomes.item(3))
    frame = pending.take_frame(0.0, 10)
    assert frame is not None
    assert list(frame.key) == []


def test_frame_is_closed_by_items_and_by_bytes() -> None:
    pending, outcomes = Pending(retry=True), Outcomes()
    for index in range(2 * limits.FRAME_ITEMS_MAX + 2):
        pending.offer(outcomes.item(index, payload=b""))
    first = pending.take_frame(0.0, 10_000)
    assert first is not None
    assert len(first.id) == limits.FRAME_ITEMS_MAX
    for _ in range(2):
        pending.take_frame(0.0, 10_000)
    for index in range(3):
        pending.offer(outcomes.item(index, payload=bytes(limits.FRAME_BYTES_TARGET)))
    large = pending.take_frame(0.0, 10_000)
    assert large is not None
    assert len(large.id) == 1


@pytest.mark.parametrize(
    ("waiting", "frames"), [(1, [1]), (32, [32]), (33, [32, 1]), (64, [32, 32]), (100, [50, 50])]
)
def test_a_frame_takes_half_of_what_is_unsettled_unless_that_is_little(
    waiting: int, frames: list[int]
) -> None:
    pending, outcomes = Pending(retry=True), Outcomes()
    for index in range(waiting):
        pending.offer(outcomes.item(index))
    sizes = []
    while (frame := pending.take_frame(0.0, 10_000)) is not None:
        sizes.append(len(frame.id))
    assert sizes == frames


def test_no_more_in_flight_than_the_sidecar_takes() -> None:
    pending, outcomes = Pending(retry=True), Outcomes()
    for index in range(3):
        pending.offer(outcomes.item(index))
    first = pending.take_frame(0.0, 2)
    assert first is not None
    assert list(first.id) == [1, 2]
    assert pending.take_frame(0.0, 2) is None
    pending.answer(app_pb2.ResultFrame(id=[2], epoch=[5], payload=[b"r"]), 0.0)
    assert outcomes.by_index == {1: Reply(b"r", 5)}
    third = pending.take_frame(0.0, 2)
    assert third is not None
    assert list(third.id) == [3]


def test_message_given_up_keeps_its_slot_until_answered() -> None:
    pending, outcomes = Pending(retry=True), Outcomes()
    pending.offer(outcomes.item(0, deadline=1.0))
    pending.offer(outcomes.item(1))
    pending.take_frame(0.0, 1)
    pending.expire(1.0 + GRACE_S)
    assert outcomes.error(0).reason is Reason.DEADLINE_EXCEEDED
    assert pending.take_frame(2.0, 1) is None
    pending.answer(app_pb2.ResultFrame(id=[1]), 2.0)
    assert pending.take_frame(2.0, 1) is not None


def test_sent_message_is_unknown_after_deadline_and_grace() -> None:
    pending, outcomes = sent_one()
    assert pending.expire(30.0) == pytest.approx(30.0 + GRACE_S)
    assert outcomes.by_index == {}
    assert pending.expire(30.0 + GRACE_S) == NEVER
    assert isinstance(outcomes.error(0), UnknownOutcome)
    assert pending.items_count == 0


def test_unsent_message_is_not_executed_after_its_deadline() -> None:
    pending, outcomes = Pending(retry=True), Outcomes()
    pending.offer(outcomes.item(0, deadline=1.0))
    assert pending.expire(0.5) == 1.0
    assert pending.expire(1.0) == NEVER
    assert isinstance(outcomes.error(0), NotExecuted)
    assert not pending.queued


def test_unsent_message_that_is_due_is_not_sent_any_more() -> None:
    pending, outcomes = Pending(retry=True), Outcomes()
    pending.offer(outcomes.item(0, deadline=1.0))
    assert pending.take_frame(1.0, 10) is None
    assert isinstance(outcomes.error(0), NotExecuted)


def test_abandoned_message_is_not_sent() -> None:
    pending, outcomes = Pending(retry=True), Outcomes()
    pending.offer(outcomes.item(0))
    outcomes.abandoned = True
    assert pending.take_frame(0.0, 10) is None
    assert (pending.items_count, pending.bytes_count) == (0, 0)


def test_passing_refusal_is_sent_again_after_its_hint() -> None:
    pending, outcomes = sent_one()
    again = pending.answer(refusal(errors_pb2.REASON_NO_WORKER, retry_after_ms=40), 0.0)
    ((item, pause_s),) = again
    assert 0.040 <= pause_s <= 0.050
    assert pending.take_frame(0.0, 10) is None
    pending.requeue(item)
    frame = pending.take_frame(0.1, 10)
    assert frame is not None
    assert outcomes.by_index == {}
    assert pending.retries_count == 1


def test_refusal_that_time_cannot_outlast_is_raised_with_its_reason() -> None:
    pending, outcomes = sent_one()
    assert pending.answer(refusal(errors_pb2.REASON_NO_WORKER, retry_after_ms=40_000), 0.0) == []
    assert outcomes.error(0).reason is Reason.NO_WORKER


@pytest.mark.parametrize("reason", [errors_pb2.REASON_EMPTY_KEY, errors_pb2.REASON_INTERNAL])
def test_lasting_refusal_is_not_sent_again(reason: errors_pb2.Reason) -> None:
    pending, outcomes = sent_one(idempotent=True)
    assert pending.answer(refusal(reason), 0.0) == []
    assert isinstance(outcomes.error(0), NotExecuted)


def test_nothing_is_sent_again_without_retry() -> None:
    pending, outcomes = sent_one(idempotent=True, retry=False)
    assert pending.answer(refusal(errors_pb2.REASON_NO_WORKER), 0.0) == []
    assert outcomes.error(0).reason is Reason.NO_WORKER


def test_unknown_outcome_is_sent_again_only_if_idempotent() -> None:
    frame = refusal(errors_pb2.REASON_OWNER_LOST, errors_pb2.EXECUTED_UNKNOWN)
    pending, outcomes = sent_one()
    assert pending.answer(frame, 0.0) == []
    assert isinstance(outcomes.error(0), UnknownOutcome)
    pending, outcomes = sent_one(idempotent=True)
    assert len(pending.answer(frame, 0.0)) == 1


def test_refusal_after_an_unknown_attempt_stays_unknown() -> None:
    pending, outcomes = sent_one(idempotent=True)
    frame = refusal(errors_pb2.REASON_OWNER_LOST, errors_pb2.EXECUTED_UNKNOWN)
    ((item, _),) = pending.answer(frame, 0.0)
    pending.requeue(item)
    pending.take_frame(0.1, 10)
    pending.answer(refusal(errors_pb2.REASON_BAD_PARTITION, item_id=2), 0.2)
    assert isinstance(outcomes.error(0), UnknownOutcome)


def test_lost_stream_settles_sent_ones_and_keeps_order_of_the_rest() -> None:
    pending, outcomes = Pending(retry=True), Outcomes()
    for index, idempotent in enumerate([False, True, True]):
        pending.offer(outcomes.item(index, idempotent=idempotent))
    pending.take_frame(0.0, 10)
    pending.offer(outcomes.item(3))
    pending.stream_lost(lost())
    assert outcomes.error(0).reason is Reason.CONNECTION_LOST
    assert isinstance(outcomes.error(0), UnknownOutcome)
    assert [item.index for item in pending.queued] == [1, 2, 3]


def test_a_stream_ended_by_a_leaving_sidecar_has_executed_nothing_unanswered() -> None:
    leaving = NotExecuted("this sidecar ends", Reason.DRAINING)
    pending, outcomes = sent_one()
    pending.stream_lost(leaving)
    assert [item.maybe_ran for item in pending.queued] == [False]
    pending.refuse_unsent(NotExecuted("closed", Reason.DRAINING))
    assert isinstance(outcomes.error(0), NotExecuted)
    pending, outcomes = sent_one(retry=False)
    pending.stream_lost(leaving)
    assert isinstance(outcomes.error(0), NotExecuted)
    pending, outcomes = sent_one()
    pending.stream_lost(NotExecuted("a bad frame", Reason.MALFORMED_FRAME))
    assert isinstance(outcomes.error(0), UnknownOutcome)


def test_refused_unsent_idempotent_message_that_may_have_run_is_unknown() -> None:
    pending, outcomes = sent_one(idempotent=True)
    pending.stream_lost(lost())
    pending.refuse_unsent(NotExecuted("closed", Reason.DRAINING))
    assert isinstance(outcomes.error(0), UnknownOutcome)
    assert pending.items_count == 0


def test_limits_of_items_and_bytes_refuse_at_once_and_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "UNSETTLED_ITEMS_MAX", 2)
    pending, outcomes = Pending(retry=True), Outcomes()
    pending.offer(outcomes.item(0))
    pending.offer(outcomes.item(1))
    with pytest.raises(NotExecuted, match="OVERLOADED"):
        pending.offer(outcomes.item(2))
    monkeypatch.setattr(limits, "UNSETTLED_ITEMS_MAX", 10)
    monkeypatch.setattr(limits, "UNSETTLED_BYTES_MAX", pending.bytes_count)
    with pytest.raises(NotExecuted, match="OVERLOADED"):
        pending.offer(outcomes.item(3))
    assert pending.overloads_count == 2


def test_malformed_result_frame_is_refused() -> None:
    pending, _ = sent_one()
    with pytest.raises(UnknownOutcome, match="MALFORMED_FRAME"):
        pending.answer(app_pb2.ResultFrame(id=[1], epoch=[1, 2]), 0.0)


def test_answer_to_nobody_is_ignored() -> None:
    pending, outcomes = sent_one()
    pending.answer(app_pb2.ResultFrame(id=[99], payload=[b"?"]), 0.0)
    assert outcomes.by_index == {}
    assert pending.items_count == 1


def test_payload_queued_before_the_limit_was_known_is_refused_then() -> None:
    pending, outcomes = Pending(retry=True), Outcomes()
    pending.offer(outcomes.item(0, payload=bytes(100), idempotent=True))
    pending.offer(outcomes.item(1, payload=bytes(10)))
    pending.payload_bytes_max = 50
    frame = pending.take_frame(0.0, 10)
    assert frame is not None
    assert list(frame.partition) == [1]
    assert outcomes.error(0).reason is Reason.PAYLOAD_TOO_LARGE


def test_lost_stream_sends_nothing_again_without_retry() -> None:
    pending, outcomes = sent_one(idempotent=True, retry=False)
    pending.stream_lost(lost())
    assert isinstance(outcomes.error(0), UnknownOutcome)
    assert not pending.queued
