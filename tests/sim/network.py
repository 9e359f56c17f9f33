"""Simulated connections: streams between processes, each direction in order like TCP.

A direction that is cut holds its frames back, as TCP does, and delivers them late when the cut
heals, unless an end has given the stream up by then. Streams overtake one another. Both ends learn
of the end of a stream, each at its own time; what was under way is lost or still arrives, as the
seed has it. A machine without power says nothing: its peers find out by themselves.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

from tests.sim.timeline import MS, S, Timeline

if TYPE_CHECKING:
    from tests.sim.actors import Actor
    from tests.sim.process import Process

KEEPALIVE_US: Final = (5 * S, 7 * S)  # until an end notices that the other one is silent
CONNECT_TIMEOUT_US: Final = 2 * S
NEAR_US: Final = (20, 200)  # within a machine
LATENCIES_US: Final = ((100, 500), (300, 2_000), (1_000, 30_000))  # usual ones, one per run
SLOW_US: Final = (20 * MS, 400 * MS)
ROOMS: Final = (2, 8, 64)  # frames that a stream takes before its reader has

_END: Final = object()


class End:
    """One end of a stream. What it sends arrives at `peer` in order."""

    def __init__(self, network: Network, process: Actor, room: int) -> None:
        self.process = process
        self.open = True
        self.peer = self
        self.path = ("", "")
        self.on_frame: Callable[[Any], object] = _ignore
        self.on_closed: Callable[[], object] = _nothing
        self.on_room: Callable[[], object] | None = None
        self._network = network
        self._room = room
        self._frames: deque[Any] = deque()  # sent, not arrived
        self._unread = 0  # sent, not taken by the reader
        self._last_us = 0
        self._held = 0
        self._watched = False
        self._broken = False  # what is sent goes nowhere; this end has not noticed yet
        process.ends[self] = None

    @property
    def full(self) -> bool:
        return self._unread >= self._room

    def meet(self, peer: End) -> None:
        """Have the other end."""
        self.peer = peer
        self.path = self.process.machine.name, peer.process.machine.name

    def send(self, frame: Any) -> None:
        """Put a frame on its way."""
        network = self._network
        self._unread += 1
        if self._broken:
            return
        self._frames.append(frame)
        self._last_us = max(self._last_us, network.timeline.now_us + network.latency_us(self.path))
        network.timeline.at(self._last_us, self._arrive)

    def _arrive(self) -> None:
        if not self._frames:
            return
        if self._held or self._network.blocked(self.path):
            self._held += 1
            self._network.hold(self)
        elif not self.peer.open:
            self._lose()
            self._closed_within(self._network.latency_us(self.path))
        else:
            peer = self.peer
            peer.process.enter(partial(peer.take, self._frames.popleft()))

    def let_go(self) -> None:
        """The cut has healed: what was held back arrives now."""
        held, self._held = self._held, 0
        for _ in range(held):
            self._arrive()

    def take(self, frame: Any) -> None:
        """Read a frame, in the process of this end."""
        sender = self.peer
        sender.read_by_peer()
        if not self.open:
            return
        if frame is _END:
            self.closed()
        else:
            self.on_frame(frame)

    def read_by_peer(self) -> None:
        """There is room for another frame."""
        self._unread -= 1
        if self.on_room is not None and not self.full:
            on_room, self.on_room = self.on_room, None
            self.process.enter(on_room)

    def _lose(self) -> None:
        self._frames.clear()
        self._held = 0

    # -- the end of a stream

    def close(self, *, quietly: bool = False) -> None:
        """This end leaves. `quietly`: without a word, as when power fails."""
        if not self.open:
            return
        self._shut()
        self.peer._lose()
        network = self._network
        if quietly:
            self._lose()
            self.peer._closed_within(network.keepalive_us())
        elif network.rng.random() < 0.5 and not network.blocked(self.path):
            self._lose()
            self.peer._closed_within(network.latency_us(self.path))
        else:
            self._send_end()

    def close_behind(self) -> None:
        """This end leaves when what it has sent has arrived."""
        if self.open:
            self._shut()
            self.peer._lose()
            self._send_end()

    def _send_end(self) -> None:
        """Let the peer learn of the end behind what is under way."""
        self.send(_END)
        self.watch_silence()

    def give_up(self) -> None:
        """This end ends the stream, and acts as on any other end of it."""
        if self.open:
            self.close()
            self.on_closed()

    def closed(self) -> None:
        """This end learns that the stream is over."""
        if self.open:
            self._shut()
            self.peer._lose()
            self._lose()
            self.on_closed()

    def _shut(self) -> None:
        self.open = False
        self.process.ends.pop(self, None)

    def _closed_within(self, delay_us: int) -> None:
        self._network.timeline.after(delay_us, lambda: self.process.enter(self.closed))

    def reset(self) -> None:
        """Something on the way breaks the stream; each end notices at its own time."""
        for end in (self, self.peer):
            end._lose()
            end._broken = True
            end._closed_within(self._network.rng.choice((0, 1 * MS, 50 * MS, 2 * S)))

    def watch_silence(self) -> None:
        """A path of this stream is cut: if it stays so, each end gives up at its own time."""
        for end in (self, self.peer):
            if not end._watched:
                end._watched = True
                self._network.timeline.after(self._network.keepalive_us(), end._still_silent)

    def _still_silent(self) -> None:
        self._watched = False
        network = self._network
        if network.blocked(self.path) or network.blocked(self.peer.path):
            self.process.enter(self.give_up)


def _ignore(_frame: Any) -> None:
    """Nobody reads."""


def _nothing() -> None:
    """Nobody is told."""


class Network:
    """All paths between machines."""

    def __init__(self, timeline: Timeline, rng: Random, counts: Counter[str]) -> None:
        self.timeline = timeline
        self.rng = rng
        self._random = rng.random
        self.counts = counts
        self.usual_us = rng.choice(LATENCIES_US)
        self._blocked: set[tuple[str, str]] = set()
        self._slow: dict[tuple[str, str], tuple[int, int]] = {}
        self._held: dict[End, None] = {}

    def latency_us(self, path: tuple[str, str]) -> int:
        low_us, high_us = self._slow.get(path, self.usual_us) if path[0] != path[1] else NEAR_US
        return low_us + int(self._random() * (high_us - low_us))

    def keepalive_us(self) -> int:
        return self.rng.randint(*KEEPALIVE_US)

    def blocked(self, path: tuple[str, str]) -> bool:
        return path in self._blocked

    def hold(self, end: End) -> None:
        self._held[end] = None

    # -- faults

    def block(self, source: str, target: str, ends: list[End]) -> None:
        """Cut one way; `ends` are those that may lie on it."""
        self._blocked.add((source, target))
        for end in ends:
            if end.path in ((source, target), (target, source)):
                end.watch_silence()

    def slow(self, source: str, target: str) -> None:
        self._slow[source, target] = SLOW_US

    def heal(self) -> None:
        """Every path is as usual again."""
        self._blocked.clear()
        self._slow.clear()
        held, self._held = list(self._held), {}
        for end in held:
            end.let_go()

    # -- connecting

    def connect(
        self,
        client: Actor,
        server: Process | None,
        accept: Callable[[Process, End], bool],
        on_open: Callable[[End], object],
        on_fail: Callable[[bool], object],
    ) -> None:
        """Open a stream within a limited time.

        `accept` runs at the server with its end and judges. Then `on_open` runs at the client with
        its end, or `on_fail`, told whether it was refused.
        """
        _Attempt(self, client, server, accept, on_open, on_fail)


class _Attempt:
    """One attempt to open a stream."""

    def __init__(
        self,
        network: Network,
        client: Actor,
        server: Process | None,
        accept: Callable[[Process, End], bool],
        on_open: Callable[[End], object],
        on_fail: Callable[[bool], object],
    ) -> None:
        self._accept = accept
        self._on_open = on_open
        self._on_fail = on_fail
        self._over = False
        self._end: End | None = None
        timeline = network.timeline
        if server is None or not server.alive:
            wait_us = network.rng.choice((1 * MS, CONNECT_TIMEOUT_US))
            timeline.after(wait_us, lambda: client.enter(self._timed_out))
            return
        room = network.rng.choice(ROOMS)
        ours, theirs = End(network, client, room), End(network, server, room)
        ours.meet(theirs)
        theirs.meet(ours)
        theirs.on_frame = lambda _handshake: self._arrived(server, theirs)
        ours.on_frame = self._answered
        ours.on_closed = self._timed_out
        self._end = ours
        ours.send("handshake")
        if network.blocked(ours.path) or network.blocked(theirs.path):
            ours.watch_silence()
        timeline.after(CONNECT_TIMEOUT_US, lambda: client.enter(self._timed_out))

    def _arrived(self, server: Process, end: End) -> None:
        end.send(self._accept(server, end))

    def _answered(self, accepted: bool) -> None:  # noqa: FBT001 - a frame
        end = self._end
        assert end is not None
        if self._over:
            return
        self._over = True
        if accepted:
            end.on_frame, end.on_closed = _ignore, _nothing
            self._on_open(end)
        else:
            end.close()
            self._on_fail(True)

    def _timed_out(self) -> None:
        if self._over:
            return
        self._over = True
        if self._end is not None:
            self._end.close()
        self._on_fail(False)
