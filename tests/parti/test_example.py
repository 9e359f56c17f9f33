"""The smallest application, as a person starts it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from parti.testing import FakeSidecar

ROOT = Path(__file__).parents[2]
APP = ROOT / "examples" / "hello" / "app.py"


async def start(address: str, *arguments: str) -> asyncio.subprocess.Process:
    path = os.pathsep.join([str(ROOT / "sidecar"), str(ROOT / "proto")])
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(APP),
        *arguments,
        env={**os.environ, "PARTI_ADDRESS": address, "PYTHONPATH": path},
        stdout=asyncio.subprocess.PIPE,
    )


async def output(process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(20):
        data, _ = await process.communicate()
    return data.decode()


async def test_hello_counts_visits_and_hands_over_at_sigterm() -> None:
    async with FakeSidecar(partitions=2) as sidecar:
        server = await start(sidecar.address)
        try:
            await sidecar.wait_started(20)
            assert await output(await start(sidecar.address, "alice")) == (
                "visit 1 of alice (epoch 1)\n"
            )
            assert "visit 2 of alice" in await output(await start(sidecar.address, "alice"))
            server.send_signal(signal.SIGTERM)
            said = await output(server)
        finally:
            if server.returncode is None:
                server.kill()
                await server.wait()
    assert server.returncode == 0
    assert said.count("is mine") == said.count("goes elsewhere") == 2
