"""What the kubelet and Prometheus ask: /healthz, /readyz, /metrics.

Health is judged by the operator's own work. A replica is alive while no pass runs for longer than a
pass may take, the cache was compared with the API server not too long ago (from the start on, which
gives a slow start its time), and all watches run. It is ready when its cache is full: a replica
that stands by is as ready as the one that acts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from parti_sidecar.listening import listening_socket

PASS_MS_MAX = 240_000
RESYNCS_MISSED_MAX = 3
_SHUTDOWN_S = 1.0
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Vitals:
    """What health is judged by, read anew for every question."""

    longest_pass_ms: int
    since_resync_ms: int  # or since the start
    resync_ms: int
    dead_watches: int
    cache_filled: bool


def illnesses(vitals: Vitals) -> list[str]:
    """Why the process should be started anew; none if it is well."""
    found = []
    if vitals.longest_pass_ms > PASS_MS_MAX:
        found.append(f"a pass has been running for {vitals.longest_pass_ms} ms")
    if vitals.since_resync_ms > vitals.resync_ms * RESYNCS_MISSED_MAX:
        found.append(f"nothing was compared for {vitals.since_resync_ms} ms")
    if vitals.dead_watches:
        found.append(f"{vitals.dead_watches} watches have ended")
    return found


class HealthServer:
    """Serves from `start` to `stop`."""

    def __init__(self, vitals: Callable[[], Vitals], metrics: Callable[[], bytes]) -> None:
        self._vitals = vitals
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; gives the port. Raises OSError if the address is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._serve_metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        await web.SockSite(self._runner, listening_socket(host, port)).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        found = illnesses(self._vitals())
        return web.Response(status=503 if found else 200, text="\n".join(found or ["ok"]) + "\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._vitals().cache_filled:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the cache is not filled yet\n")

    async def _serve_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": _METRICS_TYPE})
