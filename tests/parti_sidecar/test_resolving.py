"""Names as addresses: several, none, and lookups that hang."""

from __future__ import annotations

import asyncio

import pytest

from parti_sidecar import resolving
from parti_sidecar.resolving import Resolver, addresses_of


@pytest.mark.parametrize("literal", ["127.0.0.1:5101", "[::1]:7", "10.1.2.3:80"])
async def test_a_literal_address_is_itself(literal: str) -> None:
    assert await addresses_of(literal) == (literal,)


async def test_a_name_of_this_machine_has_addresses() -> None:
    assert "127.0.0.1:5101" in await addresses_of("localhost:5101")


async def test_a_name_that_nobody_knows_has_none() -> None:
    assert await addresses_of("nobody.invalid:5101") == ()


async def test_a_hanging_lookup_is_waited_for_once_and_never_started_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[str] = []
    answer = asyncio.Event()

    async def lookup(name: str) -> tuple[str, ...]:
        started.append(name)
        if name == "slow:1":
            await answer.wait()
        return (name,)

    monkeypatch.setattr(resolving, "addresses_of", lookup)
    monkeypatch.setattr(resolving, "LOOKUP_TIMEOUT_S", 0.05)
    resolver = Resolver()
    names = ["slow:1", "quick:1"]
    assert await resolver.resolve(names) == {"slow:1": (), "quick:1": ("quick:1",)}
    assert await resolver.resolve(names) == {"slow:1": (), "quick:1": ("quick:1",)}
    assert started == ["slow:1", "quick:1", "quick:1"]
    answer.set()
    assert (await resolver.resolve(names))["slow:1"] == ("slow:1",)
    answer.clear()
    await resolver.resolve(["slow:1"])
    await resolver.close()
    assert await resolver.resolve([]) == {}
