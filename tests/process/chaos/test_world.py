"""What runs of chaos beside one another share: the ports of one machine."""

from __future__ import annotations

import pytest

from tests.process.chaos import world

PLACES = range(30_100, 30_700, 300)  # beside those of the runs that go on now


def test_no_two_runs_get_the_same_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "BASE_PORTS", PLACES)
    with world.claimed_base_port() as one, world.claimed_base_port() as other:
        assert {one, other} == set(PLACES)
        with pytest.raises(OSError, match="no free ports"), world.claimed_base_port():
            pass
    with world.claimed_base_port() as again:
        assert again in PLACES
