"""The worker container: notes every message in a shared folder, and that it is alive.

`python -m tests.kube.app.worker FOLDER`, beside a sidecar. The folder outlives the pod. A process
that was killed leaves executions without an exit; it was inside them at least until its last beat.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import parti
from tests.process.recorder import Recorder, boottime_ns
from tests.process.worker import Application

BEAT_SUFFIX = ".beat"
BEAT_S = 0.02


def beat(path: Path) -> None:
    """Write for ever when this process was last alive, in a file of eight bytes."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    while True:
        os.pwrite(file, boottime_ns().to_bytes(8, "big"), 0)
        time.sleep(BEAT_S)


def read_beats(folder: Path) -> dict[str, int]:
    """When each worker was last seen alive."""
    return {
        path.name.removesuffix(BEAT_SUFFIX): int.from_bytes(path.read_bytes(), "big")
        for path in folder.glob(f"*{BEAT_SUFFIX}")
    }


def main() -> None:
    """Serve until asked to stop. Every start has a name of its own: pods keep theirs."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    member = f"{os.environ['PARTI_POD_NAME']}.{boottime_ns()}"
    name = f"{member}-{os.getpid()}"
    threading.Thread(target=beat, args=(folder / f"{name}{BEAT_SUFFIX}",), daemon=True).start()
    application = Application(Recorder(folder, member))
    parti.Worker(application.handle, on_revoked=application.on_revoked, name=name).run_forever()


if __name__ == "__main__":
    main()
