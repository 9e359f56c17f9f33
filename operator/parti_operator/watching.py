"""Watches, by kopf: the only module that imports it. They feed the cache and do nothing else.

Only kopf's lowest half is used: `on.event`, one watch per kind and namespace. No change handlers,
no daemons, no timers, so kopf writes nothing: no annotations, no finalizers, no Events. Peering is
off; who may act is decided by `election`. Both replicas watch, so the one that takes over is warm.

What kopf does not do, and `resync` does instead: notice what vanished while a watch was away, and
a watch that is open and silent. A watch that died stays dead (kopf logs it and goes on), so
`dead_watches` counts those that run, by the names that kopf gives their tasks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import kopf

from parti_operator.cache import Cache
from parti_operator.kube import IN_CLUSTER_VARIABLE, KUBECONFIG_VARIABLE
from parti_operator.kube_api import NODE, PARTI_CLUSTER, Kind
from parti_operator.names import CLUSTER_LABEL

SERVER_TIMEOUT_S = 300
CONNECT_TIMEOUT_S = 10
REQUEST_TIMEOUT_S = 30
# An API server that is away is asked every two seconds for ten minutes; then the watch dies, which
# is noticed, and the process begins anew.
RETRY_S = 2.0
RETRIES = 300
START_TIMEOUT_S = 60.0
# For peering, which is off. Without one kopf asks for the user's name, and an image has no users.
_IDENTITY: Any = "parti-operator"
STOP_TIMEOUT_S = 5.0

_WATCHER: Final = "watcher for "  # kopf's name for the task of a watch
_DELETED: Final = "DELETED"


class WatchError(Exception):
    """The watches cannot go on; the process has to begin anew."""


class Watches:
    """All watches of the process; belongs to one running loop.

    `heard` is told the plural of a kind with everything that its watch tells.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        kinds: Iterable[Kind],
        namespaces: tuple[str, ...],  # none: all
        heard: Callable[[str], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._cache = cache
        self._kinds = tuple(kinds)
        self._namespaces = namespaces
        self._heard = heard
        self._environ = environ
        self._stop = asyncio.Event()
        self._run: asyncio.Task[None] | None = None

    async def start(self, take_signals: Callable[[], None]) -> asyncio.Task[None]:
        """Begin to watch. The task ends when `stop` is called, or with an error.

        kopf takes the process's signals when it starts: `take_signals` takes them back at once.
        """
        before = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=self._settings(),
            standalone=True,
            identity=_IDENTITY,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
        )
        take_signals()
        self._run = asyncio.create_task(
            _unexpected_end(kopf.run_tasks(tasks, ignored=before), self._stop), name="watches"
        )
        await self._all_begun()
        return self._run

    async def stop(self) -> None:
        """End all watches. Call last: kopf cancels every task that began after it."""
        self._stop.set()
        if self._run is not None:
            await asyncio.wait([self._run], timeout=STOP_TIMEOUT_S)

    def dead_watches(self) -> int:
        """How many watches should run and do not."""
        return max(0, self._expected() - len(_watchers()))

    def _expected(self) -> int:
        places = len(self._namespaces) or 1
        return sum(places if kind.namespaced else 1 for kind in self._kinds)

    async def _all_begun(self) -> None:
        deadline_s = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while self.dead_watches():
            assert self._run is not None
            if self._run.done() or asyncio.get_running_loop().time() > deadline_s:
                raise WatchError(f"{self.dead_watches()} watches did not begin")
            await asyncio.wait([self._run], timeout=0.05)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for kind in self._kinds:
            kopf.on.event(
                kind.group, kind.version, kind.plural, registry=registry, id=f"see-{kind.plural}"
            )(self._handler(kind))
        return registry

    def _handler(self, kind: Kind) -> Callable[..., Coroutine[Any, Any, None]]:
        async def see(event: kopf.RawEvent, **_: object) -> None:
            self._heard(kind.plural)
            object_: dict[str, Any] = dict(event["object"])
            if event["type"] == _DELETED:
                self._cache.remove(kind, object_)
            else:
                self._cache.put(kind, object_)

        return see

    def _login(self, **kwargs: Any) -> kopf.ConnectionInfo | None:
        if self._environ.get(KUBECONFIG_VARIABLE):
            return kopf.login_with_kubeconfig(**kwargs)
        found = kopf.login_with_service_account(**kwargs)
        host = self._environ.get(IN_CLUSTER_VARIABLE, "")
        if found is None or not host:
            return found
        # By address, as `kube` does: the operator must not depend on the cluster's DNS.
        port = self._environ.get("KUBERNETES_SERVICE_PORT", "443")
        return replace(found, server=f"https://{f'[{host}]' if ':' in host else host}:{port}")

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.process.ultimate_exiting_timeout = None
        settings.watching.server_timeout = SERVER_TIMEOUT_S
        settings.watching.connect_timeout = CONNECT_TIMEOUT_S
        settings.networking.request_timeout = REQUEST_TIMEOUT_S
        settings.networking.error_backoffs = (RETRY_S,) * RETRIES
        for kind in self._kinds:
            if kind not in (PARTI_CLUSTER, NODE):
                selector = (kind.group, kind.version, kind.plural)
                settings.watching.label_selectors[selector] = CLUSTER_LABEL
        return settings


def _watchers() -> list[str]:
    names = (task.get_name() for task in asyncio.all_tasks() if not task.done())
    return [name for name in names if name.startswith(_WATCHER)]


async def _unexpected_end(run: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    await run
    if not stop.is_set():
        raise WatchError("the watches ended by themselves")
