"""Tells watchers that the key-value store, or a lock, has changed."""

from __future__ import annotations

from collections.abc import Callable

from parti_shard.effects import Effects


class StoreNews:
    """Watchers of one sidecar; a call means only that it is worth looking again."""

    def __init__(self) -> None:
        self._watchers: dict[object, Callable[[], None]] = {}
        self._lock_watchers: dict[bytes, dict[object, Callable[[], None]]] = {}

    @property
    def watchers(self) -> int:
        """How many watch, keys and locks together."""
        return len(self._watchers) + sum(map(len, self._lock_watchers.values()))

    def tell(self, effects: Effects) -> None:
        """Wake whoever watches what a turn has changed."""
        if effects.store_changed:
            for wake in list(self._watchers.values()):
                wake()
        for name in effects.locks_changed:
            for wake in list(self._lock_watchers.get(name, {}).values()):
                wake()

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` after changes of keys; the result ends that."""
        key = object()
        self._watchers[key] = wake
        return lambda: _drop(self._watchers, key)

    def watch_lock(self, name: bytes, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` after changes of a lock; the result ends that."""
        key = object()
        self._lock_watchers.setdefault(name, {})[key] = wake

        def stop() -> None:
            watchers = self._lock_watchers.get(name, {})
            watchers.pop(key, None)
            if not watchers:
                self._lock_watchers.pop(name, None)

        return stop


def _drop(watchers: dict[object, Callable[[], None]], key: object) -> None:
    watchers.pop(key, None)
