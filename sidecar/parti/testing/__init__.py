"""Helpers for the unit tests of applications.

async def test_counts() -> None:
    async with FakeSidecar() as sidecar, parti.Worker(handle, sidecar.address):
        async with parti.Client(sidecar.address) as client:
            reply = await client.send(key="user-42", payload=b"visit")
    assert reply.payload == b"1"

async def test_handler_alone() -> None:
    assert await run_handler(handle, payload=b"visit", epoch=3) == b"1"
"""

from parti.testing._fake import FakeSidecar
from parti.testing._handler import run_handler

__all__ = ["FakeSidecar", "run_handler"]
