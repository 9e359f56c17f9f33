"""What a worker has to say to its sidecar, gathered until the stream takes it.

Everything that was ready in one turn of the loop goes out as one frame. Results of an epoch
always leave before its `Released`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from parti import _limits as limits
from parti._errors import Executed, Reason
from parti_proto import app_pb2, errors_pb2


class Outbox:
    """The outgoing side of one attachment. Bounded by the credits that the worker granted."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.results_count = 0
        self._wake = wake
        self._ids: list[int] = []
        self._payloads: list[bytes] = []
        self._errors: list[errors_pb2.ItemError] = []
        self._size_bytes = 0
        self._full: deque[app_pb2.Results] = deque()  # results that fill a frame of their own
        self._started: list[app_pb2.Started] = []
        self._released: list[app_pb2.Released] = []
        self._closing = False

    def succeed(self, message_id: int, payload: bytes) -> None:
        """Answer a message."""
        self.results_count += 1
        self._ids.append(message_id)
        self._payloads.append(payload)
        self._size_bytes += len(payload)
        if self._size_bytes >= limits.FRAME_BYTES_TARGET:
            self._seal()
        self._wake()

    def fail(self, message_id: int, reason: Reason, executed: Executed, text: str) -> None:
        """Answer a message with an error."""
        detail = errors_pb2.ErrorDetail(
            reason=errors_pb2.Reason.Name(reason),
            executed=errors_pb2.Executed.Name(executed),
            message=text[: limits.ERROR_TEXT_CHARS_MAX],
        )
        self._errors.append(errors_pb2.ItemError(position=len(self._ids), detail=detail))
        self.succeed(message_id, b"")

    def start(self, partition: int, epoch: int) -> None:
        """Say that messages of this epoch may be delivered."""
        self._started.append(app_pb2.Started(partition=partition, epoch=epoch))
        self._wake()

    def release(self, partition: int, epoch: int) -> None:
        """Say that nothing of this epoch runs or will run here."""
        self._released.append(app_pb2.Released(partition=partition, epoch=epoch))
        self._wake()

    def close(self) -> None:
        """Ask the sidecar to take everything back."""
        self._closing = True
        self._wake()

    def take(self) -> app_pb2.WorkerFrame | None:
        """Return the next frame, or None when there is nothing to say."""
        if self._ids:
            self._seal()
        frame = app_pb2.WorkerFrame(started=self._started)
        something = bool(self._started)
        self._started = []
        if self._full:
            frame.results.CopyFrom(self._full.popleft())
            something = True
        if not self._full and (self._released or self._closing):
            frame.released.extend(self._released)
            frame.closing = self._closing
            self._released, self._closing = [], False
            something = True
        return frame if something else None

    def _seal(self) -> None:
        results = app_pb2.Results(id=self._ids, payload=self._payloads, errors=self._errors)
        self._full.append(results)
        self._ids, self._payloads, self._errors = [], [], []
        self._size_bytes = 0
