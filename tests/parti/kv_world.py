"""A sidecar in this process, with the real store, for tests of the SDK against it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from parti_kv.store import KvStore
from parti_sidecar.driver import Driver
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.servers import ApiAddresses, ApiServers, ApiSettings
from tests.parti_sidecar.driver_world import drivers
from tests.parti_sidecar.fake_host import ANY_PORTS


@dataclass
class Sidecar:
    """One member and its servers, which may go and come back at the same address."""

    driver: Driver
    meter: RpcMeter
    addresses: ApiAddresses = ANY_PORTS
    servers: ApiServers | None = None

    @property
    def address(self) -> str:
        return self.addresses.app

    @property
    def store(self) -> KvStore:
        assert self.driver.member is not None
        return self.driver.member.store

    @property
    def kv(self) -> Any:
        assert self.driver.member is not None
        return self.driver.member.kv

    def value(self, key: bytes) -> bytes | None:
        record = self.store.get(key)
        return None if record is None else record.value

    async def open(self) -> None:
        self.servers, bound = await ApiServers.start(
            self.driver, self.addresses, ApiSettings(), self.meter
        )
        self.addresses = replace(ANY_PORTS, app=bound.app)

    async def close(self) -> None:
        if self.servers is not None:
            servers, self.servers = self.servers, None
            await servers.stop(grace_ms=0)


@asynccontextmanager
async def sidecar(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sidecar]:
    async with drivers(monkeypatch) as world:
        run = await world.found()
        made = Sidecar(run.driver, RpcMeter())
        await made.open()
        try:
            yield made
        finally:
            await made.close()
