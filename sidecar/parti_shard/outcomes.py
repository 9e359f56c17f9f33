"""The one place where a message of a client gets its outcome, and leaves what counts it."""

from __future__ import annotations

from dataclasses import replace

from parti_shard.core import Core
from parti_shard.errors import Executed, Failure
from parti_shard.ids import NO_EPOCH, Epoch
from parti_shard.messages import DONE, Message


class Outcomes:
    """Tells clients. The hot path of success is inlined in `origin.py`."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core

    def finish(self, message: Message) -> None:
        assert message.state != DONE, f"two outcomes for message {message.seq}"
        message.state = DONE
        client = message.client
        client.in_flight_bytes -= message.size_bytes
        del client.in_flight[message.client_id]
        del message.timer[message]

    def fail(self, message: Message, failure: Failure, epoch: int = NO_EPOCH) -> None:
        """Not executed in this attempt does not mean never, if an earlier one may have run."""
        if message.uncertain and failure.executed is Executed.NO:
            failure = replace(failure, executed=Executed.UNKNOWN)
        self.finish(message)
        self._core.stats.fail(failure.reason)
        client = message.client
        client.outbox.fail(message.client_id, Epoch(epoch), failure)
        self._core.dirty[client.destination] = None
