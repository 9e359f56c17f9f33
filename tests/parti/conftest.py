"""A fake sidecar for every test that asks for one, and proof that nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from parti.testing import FakeSidecar

WAIT_S = 10.0


@pytest.fixture
async def sidecar() -> AsyncIterator[FakeSidecar]:
    async with FakeSidecar(partitions=8) as fake:
        yield fake


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Wait until a condition holds, looking again at every turn of the loop."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():  # noqa: ASYNC110 - conditions of many objects
                await asyncio.sleep(0.001)

    return wait
