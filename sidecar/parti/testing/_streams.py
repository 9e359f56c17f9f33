"""The two kinds of streams of the fake sidecar: what is to be written, gathered into frames."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from parti._errors import Executed, Reason
from parti_proto import app_pb2, errors_pb2
from parti_sidecar.app_streams import Wire

if TYPE_CHECKING:
    from parti.testing._fake import FakeSidecar

Frame = TypeVar("Frame")


class Sink(Protocol):
    """Where the outcome of a message goes: a client's stream, or one unary call."""

    def settle(
        self, message_id: int, epoch: int, payload: bytes, detail: errors_pb2.ErrorDetail | None
    ) -> None: ...


@dataclass(slots=True, eq=False)
class Routed:
    """One message inside the fake sidecar."""

    sink: Sink
    sender_id: int
    partition: int
    key: bytes
    payload: bytes
    headers: bytes
    deadline: float  # of the loop's clock
    epoch: int = 0  # 0: not delivered

    def fail(self, detail: errors_pb2.ErrorDetail) -> None:
        """Answer with an error."""
        self.sink.settle(self.sender_id, self.epoch, b"", detail)


def error_detail(
    reason: Reason, executed: Executed = Executed.NO, text: str = "", retry_after_ms: int = 0
) -> errors_pb2.ErrorDetail:
    """Make the detail of a refusal."""
    return errors_pb2.ErrorDetail(
        reason=errors_pb2.Reason.Name(reason),
        executed=errors_pb2.Executed.Name(executed),
        message=text,
        retry_after_ms=retry_after_ms,
    )


class Stream(ABC, Generic[Frame]):
    """Frames for one peer, whatever carries them (an `AppStream` of the sidecar)."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @abstractmethod
    def take(self) -> Frame | None:
        """Return what has gathered, as one frame."""

    def touch(self) -> None:
        """Say that there is something to write."""
        self._wire.wake()

    def end(self) -> None:
        """End the stream once what has gathered is written."""
        self._wire.finish()

    def half_closed(self) -> None:
        """The peer sends nothing more."""
        self.end()


class ClientStream(Stream[app_pb2.ResultFrame]):
    """One `SendStream`."""

    def __init__(self, fake: FakeSidecar, wire: Wire, welcome: app_pb2.Welcome) -> None:
        super().__init__(wire)
        self._fake = fake
        self._welcome: app_pb2.Welcome | None = welcome
        self._ids: list[int] = []
        self._epochs: list[int] = []
        self._payloads: list[bytes] = []
        self._errors: list[errors_pb2.ItemError] = []

    def received(self, frame: app_pb2.SendFrame) -> None:
        """Route the messages of a frame."""
        self._fake.take(self, frame)

    def close(self) -> None:
        """The stream is over."""
        self._fake.client_left(self)

    def settle(
        self, message_id: int, epoch: int, payload: bytes, detail: errors_pb2.ErrorDetail | None
    ) -> None:
        """Answer one message."""
        if detail is not None:
            self._errors.append(errors_pb2.ItemError(position=len(self._ids), detail=detail))
        self._ids.append(message_id)
        self._epochs.append(epoch)
        self._payloads.append(payload)
        self.touch()

    def take(self) -> app_pb2.ResultFrame | None:
        if self._welcome is None and not self._ids:
            return None
        frame = app_pb2.ResultFrame(
            id=self._ids,
            epoch=self._epochs,
            payload=self._payloads,
            errors=self._errors,
            welcome=self._welcome,
        )
        self._welcome = None
        self._ids, self._epochs, self._payloads, self._errors = [], [], [], []
        return frame


class UnaryReply:
    """The outcome of one unary `Send`."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[tuple[int, bytes, errors_pb2.ErrorDetail | None]] = (
            asyncio.get_running_loop().create_future()
        )

    def settle(
        self, message_id: int, epoch: int, payload: bytes, detail: errors_pb2.ErrorDetail | None
    ) -> None:
        """Answer the call."""
        del message_id  # a call has one message
        if not self.outcome.done():
            self.outcome.set_result((epoch, payload, detail))


class WorkerStream(Stream[app_pb2.SidecarFrame]):
    """One `Attach`."""

    def __init__(self, fake: FakeSidecar, wire: Wire, hello: app_pb2.Hello) -> None:
        super().__init__(wire)
        self._fake = fake
        self.hello = hello
        self.started: dict[int, int] = {}  # partition to epoch
        self.revoking: set[int] = set()
        self.outstanding: dict[int, Routed] = {}
        self.outstanding_of: dict[int, int] = {}
        self.closing = False
        self._next_id = 1
        self._frame = app_pb2.SidecarFrame()
        self._deliver: list[tuple[int, Routed]] = []

    def received(self, frame: app_pb2.WorkerFrame) -> None:
        """Take what the worker says."""
        self._fake.worker_said(self, frame)

    def close(self) -> None:
        """The stream is over."""
        self._fake.worker_left(self)

    def say(self, frame: app_pb2.SidecarFrame) -> None:
        """Add to the next frame. Its parts count in the order of their fields."""
        self._frame.MergeFrom(frame)
        self.touch()

    def has_credit(self, partition: int) -> bool:
        """Tell whether the worker takes another message of a partition."""
        return (
            len(self.outstanding) < self.hello.credits
            and self.outstanding_of.get(partition, 0) < self.hello.partition_credits
        )

    def deliver(self, message: Routed) -> None:
        """Hand a message to the worker."""
        partition = message.partition
        message.epoch = self.started[partition]
        self.outstanding[self._next_id] = message
        self.outstanding_of[partition] = self.outstanding_of.get(partition, 0) + 1
        self._deliver.append((self._next_id, message))
        self._next_id += 1
        self.touch()

    def answered(self, message_id: int) -> Routed | None:
        """Take a message back with its credit; None if it was settled before."""
        message = self.outstanding.pop(message_id, None)
        if message is not None:
            self.outstanding_of[message.partition] -= 1
        return message

    def take(self) -> app_pb2.SidecarFrame | None:
        frame, self._frame = self._frame, app_pb2.SidecarFrame()
        if self._deliver:
            frame.deliver.CopyFrom(self._take_deliver())
        return frame if frame.ByteSize() else None

    def _take_deliver(self) -> app_pb2.Deliver:
        items, self._deliver = self._deliver, []
        now = asyncio.get_running_loop().time()
        messages = [message for _, message in items]
        with_headers = [at for at, message in enumerate(messages) if message.headers]
        return app_pb2.Deliver(
            id=[message_id for message_id, _ in items],
            partition=[message.partition for message in messages],
            epoch=[message.epoch for message in messages],
            key=[message.key for message in messages],
            payload=[message.payload for message in messages],
            timeout_ms=[max(1, int((message.deadline - now) * 1000)) for message in messages],
            headers_at=with_headers,
            headers=[messages[at].headers for at in with_headers],
        )
