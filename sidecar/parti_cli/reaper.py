"""Ends the processes of a local cluster when the program that owns it dies, however it dies.

`python -m parti_cli.reaper DIR` waits until its standard input closes, which the kernel sees to
even after kill -9 of the owner, then kills what the directory's state remembers as running, and
forgets it. An owner that ends in an orderly way leaves nothing to do.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from parti_cli.devstate import ClusterFiles
from parti_cli.processes import send_signal


def main() -> None:
    """Wait for the owner's end, then clean up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.buffer.read()
    files = ClusterFiles(Path(sys.argv[1]))
    with files.locked():
        if not files.exists():
            return
        for member in files.load().members.values():
            for process in (member.worker, member.sidecar):
                if process is not None:
                    send_signal(process, signal.SIGKILL)
        files.forget()


if __name__ == "__main__":
    main()
