"""`addresses.json` in the data directory: where the running sidecar listens.

Ports may be chosen by the system (0), so whoever started the process reads them here. The file is
there while the process serves: it is replaced as a whole when everything listens, and removed at
the end. One that a killed process left behind is removed at the next start, but not before the
data directory is locked: whoever starts the process and waits for the file removes it first.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

ADDRESSES_NAME = "addresses.json"


@dataclass(frozen=True, slots=True)
class BoundAddresses:
    """Where each API listens, with the ports that were chosen."""

    app: str
    peer: str
    admin: str
    http: str


def publish_addresses(data_dir: Path, addresses: BoundAddresses) -> None:
    """Write the file in one step, so that a reader never sees half of it."""
    path = data_dir / ADDRESSES_NAME
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(addresses), indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def forget_addresses(data_dir: Path) -> None:
    """Remove the file, if there is one."""
    (data_dir / ADDRESSES_NAME).unlink(missing_ok=True)
