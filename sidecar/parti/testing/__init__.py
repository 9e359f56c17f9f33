"""Helpers for the unit tests of applications.

async def test_counts() -> None:
    async with FakeSidecar() as sidecar, parti.Worker(handle, sidecar.address):
        async with parti.Client(sidecar.address) as client:
            reply = await client.send(key="user-42", payload=b"visit")
    assert reply.payload == b"1"

async def test_keeps_its_settings() -> None:
    async with FakeSidecar() as sidecar, parti.Client(sidecar.address) as client:
        await remember(client.kv)
        assert sidecar.store.value("config/colour") == b"blue"

async def test_handler_alone() -> None:
    assert await run_handler(handle, payload=b"visit", epoch=3) == b"1"
"""

from parti.testing._fake import FakeSidecar
from parti.testing._handler import run_handler
from parti.testing._store import FakeStore

__all__ = ["FakeSidecar", "FakeStore", "run_handler"]
