"""Hands out what the folder of notes has gained: only pods can read it.

`python -m tests.kube.app.gains FOLDER`, on standard input a JSON object: how many bytes of each
file the asker has. The answer on standard output is a JSON object of what comes after them, packed
by `pack`. Beats are overwritten in place, so they always come whole.
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

from tests.kube.app.worker import BEAT_SUFFIX


def gains(folder: Path, known: Mapping[str, int]) -> dict[str, bytes]:
    """What is new, by file; files that are new and empty are there, too."""
    found: dict[str, bytes] = {}
    for path in folder.iterdir():
        beat = path.suffix == BEAT_SUFFIX
        with path.open("rb") as file:
            file.seek(0 if beat else known.get(path.name, 0))
            new = file.read()
        if new or path.name not in known:
            found[path.name] = new
    return found


def pack(found: Mapping[str, bytes]) -> str:
    """As one line of text."""
    text = json.dumps({name: content.decode("latin-1") for name, content in found.items()})
    return base64.b64encode(zlib.compress(text.encode(), level=1)).decode()


def unpack(line: str) -> dict[str, bytes]:
    """What was packed."""
    found: dict[str, str] = json.loads(zlib.decompress(base64.b64decode(line)))
    return {name: content.encode("latin-1") for name, content in found.items()}


def main() -> None:
    """Entry point."""
    sys.stdout.write(pack(gains(Path(sys.argv[1]), json.load(sys.stdin))))


if __name__ == "__main__":
    main()
