"""Health by the operator's own work, and the three pages."""

from __future__ import annotations

from dataclasses import replace

import aiohttp
import pytest

from parti_operator.health import PASS_MS_MAX, HealthServer, Vitals, illnesses
from parti_operator.metrics import Metrics
from parti_operator.reconciler import PASS_TIMEOUT_MS

_WELL = Vitals(
    longest_pass_ms=0, since_resync_ms=0, resync_ms=600_000, dead_watches=0, cache_filled=True
)


def test_a_stuck_pass_is_an_illness_only_after_its_own_deadline() -> None:
    assert illnesses(_WELL) == []
    assert illnesses(replace(_WELL, longest_pass_ms=PASS_TIMEOUT_MS)) == []
    [ill] = illnesses(replace(_WELL, longest_pass_ms=PASS_MS_MAX + 1))
    assert "pass" in ill


def test_missed_comparisons_are_an_illness() -> None:
    assert illnesses(replace(_WELL, since_resync_ms=1_700_000)) == []
    [ill] = illnesses(replace(_WELL, since_resync_ms=1_900_000))
    assert "compared" in ill


def test_a_watch_that_ended_is_an_illness() -> None:
    [ill] = illnesses(replace(_WELL, dead_watches=2))
    assert ill == "2 watches have ended"


async def _ask(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


@pytest.mark.parametrize(
    ("vitals", "health", "readiness"),
    [
        (_WELL, 200, 200),
        (replace(_WELL, cache_filled=False), 200, 503),
        (replace(_WELL, dead_watches=1), 503, 200),
    ],
)
async def test_the_pages(vitals: Vitals, health: int, readiness: int) -> None:
    metrics = Metrics()
    metrics.count_request("get", "pods", 200)
    metrics.heard("pods")
    server = HealthServer(lambda: vitals, metrics.text)
    port = await server.start("127.0.0.1", 0)
    try:
        assert (await _ask(port, "/healthz"))[0] == health
        assert (await _ask(port, "/readyz"))[0] == readiness
        status, text = await _ask(port, "/metrics")
        assert status == 200
        sample = 'parti_operator_api_requests_total{resource="pods",status="200",verb="get"} 1.0'
        assert sample in text
        assert 'parti_operator_watch_last_event_timestamp_seconds{resource="pods"}' in text
    finally:
        await server.stop()


@pytest.mark.parametrize("every", ["0.0.0.0", "::"])
async def test_a_pod_of_either_family_is_probed(every: str) -> None:
    server = HealthServer(lambda: _WELL, Metrics().text)
    port = await server.start(every, 0)
    try:
        for host in ("127.0.0.1", "[::1]"):
            assert (await _ask(port, "/healthz", host))[0] == 200
    finally:
        await server.stop()


async def test_a_taken_port_is_an_error() -> None:
    first = HealthServer(lambda: _WELL, Metrics().text)
    port = await first.start("127.0.0.1", 0)
    second = HealthServer(lambda: _WELL, Metrics().text)
    try:
        with pytest.raises(OSError, match="Address already in use"):
            await second.start("127.0.0.1", port)
    finally:
        await second.stop()
        await first.stop()
