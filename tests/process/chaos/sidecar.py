"""`parti-sidecar` with two changes: its peers reach it through the network, its disk can be slow.

    python -m tests.process.chaos.sidecar FLAGS OF PARTI-SIDECAR

The sidecar itself is the product's, unchanged: it is given flags that a product's user could give
(where it is reached, where its streams are dialled), and a storage behind the storage protocol.
"""

from __future__ import annotations

import sys

from parti_sidecar import main as product
from parti_sidecar import opening
from parti_sidecar.config import SidecarConfig
from parti_sidecar.storage.base import Storage, StoredState
from tests.process.chaos.network import HOST, VIA
from tests.process.chaos.slow_disk import SWITCH, SlowStorage

STREAM_PORT_OFFSET = 4  # from the peer port; the local cluster uses three in between


def flags_through_network(flags: list[str]) -> list[str]:
    """The same flags for a sidecar that is reached, and reaches others, through the network."""
    through = list(flags)
    peer_port = int(flags[flags.index("--peer-address") + 1].rpartition(":")[2])
    through += ["--advertise-address", f"{VIA}:{peer_port}"]
    through += ["--peer-stream-address", f"{HOST}:{peer_port + STREAM_PORT_OFFSET}"]
    if "--join" in flags:
        at = flags.index("--join") + 1
        through[at] = through[at].replace(f"{HOST}:", f"{VIA}:")
    return through


_open_storage = opening.open_storage


def open_slow_storage(
    config: SidecarConfig, force_new_quorum: str = ""
) -> tuple[Storage, StoredState]:
    """As the product opens it."""
    storage, stored = _open_storage(config, force_new_quorum)
    return SlowStorage(storage, config.data_dir.parent / SWITCH), stored


def main() -> None:
    """Run it."""
    sys.argv[1:] = flags_through_network(sys.argv[1:])
    opening.open_storage = open_slow_storage
    product.main()


if __name__ == "__main__":
    main()
