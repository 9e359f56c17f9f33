"""`KV.Stream`: batches of reads and writes of one client.

A frame's writes are one command of the log, and its reads share one read round with all others of
the turn. Answers of frames that are ready at the same time go out as one. A client that sends
faster than it is answered is not read any further: that is all the flow control there is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from parti_kv.errors import MalformedKvError
from parti_kv.limits import DEDUP_WINDOW
from parti_kv.values import Answers
from parti_proto import kv_pb2
from parti_shard.errors import Failure, MalformedFrameError
from parti_shard.kv_stats import Kind
from parti_shard.limits import PROTOCOL_VERSION
from parti_sidecar.app_streams import KV_STREAM, Wire
from parti_sidecar.kv_calls import malformed
from parti_sidecar.kv_messages import read_answers, refusal, write_answers, writes_of
from parti_sidecar.outcomes import Caller
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.store_host import StoreHost, StoreMember

REQUESTS_OPEN_MAX = 256  # frames of one stream that are not answered
READS_MAX = 4_096  # told to the client: unanswered reads of one stream
ANSWERS_MERGED_BYTES_MAX = 256 << 10


class KvStream:
    """One open stream (an `AppStream`)."""

    def __init__(self, host: StoreHost, member: StoreMember, meter: RpcMeter, wire: Wire) -> None:
        self._host = host
        self._member = member
        self._meter = meter
        self._wire = wire
        welcome = kv_pb2.KvWelcome(
            protocol_version=PROTOCOL_VERSION, window=DEDUP_WINDOW, reads_max=READS_MAX
        )
        self._answers = deque([kv_pb2.KvAnswers(welcome=welcome)])
        self._open = 0  # requests under way
        self._half_closed = False

    def received(self, frame: kv_pb2.KvFrame) -> None:
        """Begin what a frame asks for."""
        self._meter.frame_in(KV_STREAM, len(frame.seq) + len(frame.read_id))
        now_ms = self._host.now_ms()
        if frame.seq or frame.acknowledged_below:
            self._begin_writes(frame, now_ms)
        if frame.read_id:
            self._begin_reads(frame, now_ms)
        self._host.touch()
        if self._open >= REQUESTS_OPEN_MAX:
            self._wire.hold()

    def half_closed(self) -> None:
        """Answer what was asked, then end."""
        self._half_closed = True
        self._end_when_answered()

    def close(self) -> None:
        """What is still under way has its effect, and nobody is told."""

    def _begin_reads(self, frame: kv_pb2.KvFrame, now_ms: int) -> None:
        ids, keys = frame.read_id[:], frame.read_key[:]
        if len(ids) != len(keys) or len(ids) > READS_MAX:
            raise MalformedFrameError(f"{len(keys)} keys for {len(ids)} reads")
        if frame.stale:
            self._member.kv.stats.succeed(Kind.STALE_READ, len(ids))
            self._add(self._read_now(ids, keys))
        else:
            self._open += 1
            self._member.kv.read(_Reads(self, ids, keys), now_ms, frame.timeout_ms, len(ids))

    def _begin_writes(self, frame: kv_pb2.KvFrame, now_ms: int) -> None:
        seqs = frame.seq[:]
        try:
            writes = _Writes(self, frame.session, seqs)
            self._member.kv.write(writes, writes_of(frame), now_ms, frame.timeout_ms)
        except MalformedKvError as error:
            self._add(refusal(malformed(error), session=frame.session, seqs=seqs))
        else:
            self._open += 1

    def answer(self, frame: kv_pb2.KvAnswers) -> None:
        """A request is answered."""
        self._open -= 1
        if self._open < REQUESTS_OPEN_MAX:
            self._wire.go_on()
        self._add(frame)
        if self._half_closed:
            self._end_when_answered()

    def answer_reads(self, ids: Sequence[int], keys: Sequence[bytes]) -> None:
        """The store may be read."""
        self.answer(self._read_now(ids, keys))

    def _read_now(self, ids: Sequence[int], keys: Sequence[bytes]) -> kv_pb2.KvAnswers:
        get = self._member.store.get
        return read_answers(ids, map(get, keys))

    def _add(self, frame: kv_pb2.KvAnswers) -> None:
        answers = self._answers
        last = answers[-1] if answers else None
        if last is not None and _may_join(last, frame):
            last.MergeFrom(frame)
        else:
            answers.append(frame)
        self._wire.wake()

    def take(self) -> kv_pb2.KvAnswers | None:
        """Give the welcome, then answers."""
        if not self._answers:
            return None
        frame = self._answers.popleft()
        self._meter.frame_out(KV_STREAM, len(frame.seq) + len(frame.read_id))
        return frame

    def _end_when_answered(self) -> None:
        if not self._open:
            self._wire.finish()


def _may_join(last: kv_pb2.KvAnswers, frame: kv_pb2.KvAnswers) -> bool:
    """Whether two answers can be one: not when both tell of writes, whose columns would mix."""
    writes = (last.seq or last.refused) and (frame.seq or frame.refused)
    return not writes and last.ByteSize() + frame.ByteSize() < ANSWERS_MERGED_BYTES_MAX


class _Writes(Caller):
    """The writes of one frame wait for their answers."""

    def __init__(self, stream: KvStream, session: int, seqs: list[int]) -> None:
        self._stream = stream
        self._session = session
        self._seqs = seqs

    def answered(self, value: object) -> None:
        assert isinstance(value, Answers), value
        self._stream.answer(write_answers(self._session, self._seqs, value))

    def failed(self, failure: Failure) -> None:
        self._stream.answer(refusal(failure, session=self._session, seqs=self._seqs))


class _Reads(Caller):
    """The reads of one frame wait until the store may be read."""

    def __init__(self, stream: KvStream, ids: list[int], keys: list[bytes]) -> None:
        self._stream = stream
        self._ids = ids
        self._keys = keys

    def answered(self, _value: object) -> None:
        self._stream.answer_reads(self._ids, self._keys)

    def failed(self, failure: Failure) -> None:
        self._stream.answer(refusal(failure, read_ids=self._ids))
