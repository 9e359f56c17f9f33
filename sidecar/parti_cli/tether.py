"""Becomes a command that dies with the program that keeps its lock, also when that is killed -9.

`python -I -S tether.py PARENT COMMAND...`: asks the kernel (Linux) for a SIGKILL at the death of
the parent, and then becomes COMMAND. It is a program of its own, with the standard library alone,
because after a fork in a process with threads no Python code may run.

What the command has started itself is not reached; for that there is the fencing token.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

CANNOT_RUN = 126  # what a shell gives for this

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tether this process, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before it could be noticed
            os.kill(os.getpid(), signal.SIGKILL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"parti: cannot run {command[0]}: {error.strerror}\n")
        sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    main()
