"""Compares the cache with the API server as a whole: at the start, and every now and then.

A watch that begins anew does not tell what vanished meanwhile, and one that is open may be silent
for ever. A listing of every kind corrects both, for all clusters at once: its cost does not grow
with their number. If twice in a row a kind has changed and its watch has told nothing at all, that
watch is dead, whatever it looks like: the process has to begin anew.

After the API server was away, watches may be open and silent until kopf gives them up (70 s without
a word). For that long comparisons follow each other closely, and they do not judge watches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from parti_operator.cache import Cache
from parti_operator.kube_api import NODE, PARTI_CLUSTER, Kind, KubeApi, KubeError, Object
from parti_operator.names import CLUSTER_LABEL
from parti_sidecar.logs import event

FIRST_RETRY_MS = 2_000
SILENT_MAX = 2
RETURN_MS = 90_000  # after an outage: longer than kopf bears a silent watch
RETURN_EVERY_MS = 8_000  # an API server that was overloaded must not be kept so

_log = logging.getLogger(__name__)


class SilentWatchError(Exception):
    """A watch tells nothing although its kind changes."""


class Resync:
    """Belongs to one running loop. `missed` counts changes that no watch had told."""

    def __init__(
        self,
        kube: KubeApi,
        cache: Cache,
        *,
        kinds: Iterable[Kind],
        optional: Iterable[Kind],
        namespaces: tuple[str, ...],  # none: all
        missed: Callable[[str, int], None],
    ) -> None:
        self.last_s: float | None = None  # of the loop's clock
        self.known_optional: frozenset[str] = frozenset()
        self._kube = kube
        self._cache = cache
        self._kinds = tuple(kinds)
        self._optional = tuple(optional)
        self._namespaces = namespaces
        self._missed = missed
        self._told: dict[Kind, int] = {}
        self._silent: dict[Kind, int] = {}
        self._returned = asyncio.Event()
        self._close_until_s = 0.0  # of the loop's clock

    def api_returned(self) -> None:
        """The API server answers again after it did not: distrust the watches for a while."""
        self._close_until_s = self._now_s() + RETURN_MS / 1000
        self._returned.set()

    async def first(self) -> None:
        """Fill the cache, however long it takes until the API server gives everything."""
        while True:
            try:
                await self.once()
            except KubeError as error:
                event(_log, "not all can be listed yet", level=logging.WARNING, reason=str(error))
                await asyncio.sleep(FIRST_RETRY_MS / 1000)
            else:
                return

    async def run(self, every_ms: int) -> None:
        """Compare for ever. Raises SilentWatchError."""
        while True:
            await self._pause(every_ms)
            try:
                await self.once()
            except KubeError as error:
                event(_log, "comparison failed", level=logging.WARNING, reason=str(error))

    async def _pause(self, every_ms: int) -> None:
        if self._is_close:
            every_ms = min(every_ms, RETURN_EVERY_MS)
        self._returned.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._returned.wait(), every_ms / 1000)

    @property
    def _is_close(self) -> bool:
        return self._now_s() < self._close_until_s

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()

    async def once(self) -> None:
        """One comparison. Raises KubeError, SilentWatchError."""
        known = [kind for kind in self._optional if await self._compare(kind, optional=True)]
        self.known_optional = frozenset(kind.name for kind in known)
        for kind in self._kinds:
            await self._compare(kind, optional=False)
        self.last_s = self._now_s()

    async def _compare(self, kind: Kind, *, optional: bool) -> bool:
        """Whether the API server knows the kind."""
        listing = self._cache.begin_listing(kind)
        objects: list[Object] | None = None
        try:
            objects = await self._list(kind)
        except KubeError as error:
            if not (optional and error.is_missing):
                raise
        finally:
            missed = self._cache.end_listing(listing, objects)
        if missed and kind in self._told:  # the first listing tells what no watch could have
            self._missed(kind.plural, missed)
        self._judge(kind, missed)
        return objects is not None

    async def _list(self, kind: Kind) -> list[Object]:
        labels = "" if kind in (PARTI_CLUSTER, NODE) else CLUSTER_LABEL
        if not kind.namespaced or not self._namespaces:
            return await self._kube.list(kind, None, labels)
        lists = [await self._kube.list(kind, name, labels) for name in self._namespaces]
        return [object_ for objects in lists for object_ in objects]

    def _judge(self, kind: Kind, missed: int) -> None:
        told = self._cache.told[kind.plural]
        was_silent = kind in self._told and told == self._told[kind]
        self._told[kind] = told
        suspect = missed and was_silent and not self._is_close
        self._silent[kind] = self._silent.get(kind, 0) + 1 if suspect else 0
        if self._silent[kind] >= SILENT_MAX:
            raise SilentWatchError(f"the watch of {kind.plural} tells nothing")
