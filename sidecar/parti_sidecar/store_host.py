"""What the adapters of the key-value store need of a sidecar: a small part of `Host`.

The driver offers it around the member; the fake sidecar of `parti.testing` around a store alone, so
that applications' tests meet the same limits, answers and errors.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from parti_kv.commands import Writes
from parti_kv.store import KvStore
from parti_kv.values import SessionId
from parti_shard.kv_stats import KvStats
from parti_sidecar.store_news import StoreNews


class StoreAccess(Protocol):
    """How the store is asked; each tag is told an outcome by the deadline. See `KvAccess`."""

    @property
    def stats(self) -> KvStats:
        """What was asked here."""

    def write(self, tag: Hashable, writes: Writes, now_ms: int, timeout_ms: int, /) -> None:
        """Do a batch of writes. Raises MalformedKvError."""

    def open_session(
        self, tag: Hashable, nonce: int, ttl_ms: int, now_ms: int, timeout_ms: int, /
    ) -> None:
        """Open a client session. Raises MalformedKvError."""

    def close_session(
        self, tag: Hashable, session: SessionId, now_ms: int, timeout_ms: int, /
    ) -> None:
        """Close a client session."""

    def read(self, tag: Hashable, now_ms: int, timeout_ms: int, count: int = 1, /) -> None:
        """Ask when the store may be read such that nothing acknowledged before is missing."""

    def keep_alive(self, tag: Hashable, sessions: tuple[SessionId, ...], now_ms: int, /) -> None:
        """Keep client sessions alive; the answer says which of them live on."""


class StoreMember(Protocol):
    """A member's store and the way to it."""

    @property
    def store(self) -> KvStore:
        """The store as it is known here now."""

    @property
    def kv(self) -> StoreAccess:
        """How it is asked."""


class StoreHost(Protocol):
    """A sidecar, as far as its store goes."""

    @property
    def member(self) -> StoreMember | None:
        """None until this process belongs to a cluster."""

    @property
    def store_news(self) -> StoreNews:
        """Who is told of changes."""

    def now_ms(self) -> int:
        """Time of the lease clock."""

    def touch(self) -> None:
        """See soon to what was asked for."""
