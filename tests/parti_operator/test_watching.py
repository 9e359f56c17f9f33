"""What kopf is told: to watch and nothing else. That it does is tested on a real API server."""

from __future__ import annotations

import asyncio
from typing import Any

import kopf
import pytest

from parti_operator.cache import Cache
from parti_operator.kube_api import NODE, PARTI_CLUSTER, SERVICE, STATEFUL_SET, Kind
from parti_operator.names import CLUSTER_LABEL
from parti_operator.watching import Watches

_KINDS = (PARTI_CLUSTER, STATEFUL_SET, SERVICE, NODE)


def _watches(*namespaces: str, **environ: str) -> Watches:
    return Watches(
        Cache(lambda _: None),
        kinds=_KINDS,
        namespaces=namespaces,
        heard=lambda _: None,
        environ=environ,
    )


async def test_only_events_are_handled() -> None:
    """Any other handler would make kopf write annotations or finalizers."""
    registry = _watches("shop")._registry()
    assert len(registry._watching.get_all_handlers()) == len(_KINDS)
    for others in (registry._changing, registry._spawning, registry._indexing, registry._webhooks):
        assert list(others.get_all_handlers()) == []


async def test_kopf_writes_no_events_and_asks_for_no_more_than_it_watches() -> None:
    settings = _watches("shop")._settings()
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    assert settings.process.ultimate_exiting_timeout is None  # it would be a SIGKILL


def _resource(kind: Kind) -> kopf.Resource:
    return kopf.Resource(group=kind.group, version=kind.version, plural=kind.plural)


@pytest.mark.parametrize(
    ("kind", "selectors"),
    [
        (STATEFUL_SET, [CLUSTER_LABEL]),
        (SERVICE, [CLUSTER_LABEL]),
        (PARTI_CLUSTER, []),
        (NODE, []),
    ],
)
async def test_only_the_clusters_own_objects_are_watched(kind: Kind, selectors: list[str]) -> None:
    settings = _watches("shop")._settings()
    assert list(settings.watching.label_selectors.collect(_resource(kind))) == selectors


async def test_watches_are_counted_by_kind_and_namespace() -> None:
    assert _watches()._expected() == 4
    assert _watches("a", "b")._expected() == 7
    watches = _watches("a", "b")
    assert watches.dead_watches() == 7

    async def forever() -> None:
        await asyncio.sleep(1_000)

    tasks = [asyncio.create_task(forever(), name=f"watcher for x@{n}") for n in range(7)]
    assert watches.dead_watches() == 0
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    assert watches.dead_watches() == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("host", "shown"), [("10.96.0.1", "10.96.0.1"), ("fd00::1", "[fd00::1]")])
async def test_the_api_server_is_found_without_dns(
    host: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = kopf.ConnectionInfo(server="by its name", token="t")

    def service_account(**_: Any) -> kopf.ConnectionInfo:
        return found

    monkeypatch.setattr(kopf, "login_with_service_account", service_account)
    login = _watches(KUBERNETES_SERVICE_HOST=host, KUBERNETES_SERVICE_PORT="443")._login()
    assert login is not None
    assert (login.server, login.token) == (f"https://{shown}:443", "t")
