"""A disk is slow as long as it is told to be, and a sidecar's flags lead through the network."""

from __future__ import annotations

import time
from pathlib import Path

from parti_raft.types import HardState, MemberId, Term
from parti_sidecar.storage.base import WriteBatch
from parti_sidecar.storage.memory import MemoryDisk, MemoryStorage
from tests.process.chaos.network import VIA
from tests.process.chaos.sidecar import flags_through_network
from tests.process.chaos.slow_disk import SWITCH, SlowStorage, set_slow


def test_a_step_takes_longer_while_the_switch_is_there(tmp_path: Path) -> None:
    storage = SlowStorage(MemoryStorage(MemoryDisk(), MemberId(1)), tmp_path / SWITCH)
    storage.load()
    data = tmp_path / "data"
    for term, delay_ms in enumerate((0, 60, 0), 1):
        set_slow(data, delay_ms)
        begun = time.monotonic()
        storage.write(WriteBatch(hard_state=HardState(Term(term))))
        assert time.monotonic() - begun >= delay_ms / 1000
        assert (tmp_path / SWITCH).exists() == bool(delay_ms)
    storage.close()


def test_flags_of_a_sidecar() -> None:
    flags = ["--peer-address", "127.0.0.1:10011", "--join", "127.0.0.1:10001,127.0.0.1:10021"]
    assert flags_through_network(flags) == [
        *("--peer-address", "127.0.0.1:10011"),
        *("--join", f"{VIA}:10001,{VIA}:10021"),
        *("--advertise-address", f"{VIA}:10011"),
        *("--peer-stream-address", "127.0.0.1:10015"),
    ]
    assert "--join" not in flags_through_network(flags[:2])
