"""The key-value store, locks and elections for programs without asyncio: the same calls, blocking.

Safe to use from several threads. See `Kv`, `Lock` and `Election` for the meaning of everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from parti._kv import TIMEOUT_S, Kv
from parti._kv_values import (
    Action,
    CasResult,
    Change,
    Compare,
    Entry,
    Item,
    LockState,
    Page,
    TxnResult,
)
from parti._locks import Election, Lock
from parti._sync_loop import LoopThread


class SyncKv:
    """The store that all members of the cluster share. Get it as `client.kv`."""

    def __init__(self, loop: LoopThread, kv: Kv) -> None:
        self._loop = loop
        self._kv = kv

    def get(
        self, key: bytes | str, *, stale: bool = False, timeout: float = TIMEOUT_S
    ) -> Entry | None:
        """Read a key; None if it is absent."""
        return self._loop.call(self._kv.get(key, stale=stale, timeout=timeout))

    def page(
        self,
        prefix: bytes | str = b"",
        *,
        after: bytes | str | None = None,
        limit: int = 0,
        keys_only: bool = False,
        stale: bool = False,
        timeout: float = TIMEOUT_S,
    ) -> Page:
        """Read keys below a prefix, in order, behind `after`; as many as fit, or `limit`."""
        work = self._kv.page(
            prefix, after=after, limit=limit, keys_only=keys_only, stale=stale, timeout=timeout
        )
        return self._loop.call(work)

    def range(
        self,
        prefix: bytes | str = b"",
        *,
        keys_only: bool = False,
        stale: bool = False,
        timeout: float = TIMEOUT_S,
    ) -> Iterator[Item]:
        """Yield all keys below a prefix, in order. Each page is read at its own moment."""
        return self._loop.iterate(
            self._kv.range(prefix, keys_only=keys_only, stale=stale, timeout=timeout)
        )

    def watch(self, prefix: bytes | str = b"", *, after: int | None = None) -> Iterator[Change]:
        """Yield every change below a prefix after a revision (default: from now on), in order.

        Waits for the next change as long as it takes; closing the client ends that.
        """
        return self._loop.iterate(self._kv.watch(prefix, after=after))

    def put(self, key: bytes | str, value: bytes | str, *, timeout: float = TIMEOUT_S) -> int:
        """Set a key; gives the revision that this made."""
        return self._loop.call(self._kv.put(key, value, timeout=timeout))

    def delete(self, key: bytes | str, *, timeout: float = TIMEOUT_S) -> bool:
        """Delete a key; whether it was there."""
        return self._loop.call(self._kv.delete(key, timeout=timeout))

    def cas(
        self,
        key: bytes | str,
        value: bytes | str | None,
        *,
        expect: int,
        timeout: float = TIMEOUT_S,
    ) -> CasResult:
        """Set a key (`None`: delete it) only if it is at revision `expect`; 0: if it is absent."""
        return self._loop.call(self._kv.cas(key, value, expect=expect, timeout=timeout))

    def txn(
        self,
        compare: Sequence[Compare] = (),
        then: Sequence[Action] = (),
        otherwise: Sequence[Action] = (),
        *,
        timeout: float = TIMEOUT_S,
    ) -> TxnResult:
        """If all compares hold, do `then`, else `otherwise`: as one change, seen as a whole."""
        return self._loop.call(self._kv.txn(compare, then, otherwise, timeout=timeout))


class SyncLock:
    """A named lock. `with client.lock("reports") as lock: ... lock.token ...`."""

    def __init__(self, loop: LoopThread, lock: Lock) -> None:
        self._loop = loop
        self._lock = lock

    def __enter__(self) -> Self:
        """Wait until the lock is held."""
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def name(self) -> str:
        """What is locked."""
        return self._lock.name

    @property
    def held(self) -> bool:
        """Whether it is held for certain, at this moment."""
        return self._lock.held

    @property
    def token(self) -> int:
        """The fencing token. Raises `LockLost` when the lock is not held any more."""
        return self._lock.token

    def check(self) -> None:
        """Raise `LockLost` unless the lock is held."""
        self._lock.check()

    def acquire(self, *, wait: bool = True, timeout: float | None = None) -> bool:
        """Take the lock, within `timeout` seconds if given; whether it is held then."""
        return self._loop.call(self._lock.acquire(wait=wait, timeout=timeout))

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the lock is lost, or for `timeout` seconds; whether it is lost."""
        return self._loop.call(_within(self._lock.lost, timeout))

    def release(self) -> None:
        """Give the lock back, or the place in its queue; once it is lost there is nothing to do."""
        self._loop.call(self._lock.release())


class SyncElection(SyncLock):
    """A lock whose holder leads and says who it is. `with client.elect("main", "pod-1")`."""

    def __init__(self, loop: LoopThread, election: Election) -> None:
        super().__init__(loop, election)
        self._election = election

    def leader(self) -> LockState:
        """Who leads now; token 0: nobody."""
        return self._loop.call(self._election.leader())

    def observe(self) -> Iterator[LockState]:
        """Yield who leads, and every change of that; closing the client ends the waiting."""
        return self._loop.iterate(self._election.observe())


async def _within(event: asyncio.Event, timeout_s: float | None) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
