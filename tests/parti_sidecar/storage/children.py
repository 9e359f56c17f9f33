"""Run a function in a forked child, for what only the end of a process can show."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CHILD_DEADLINE_S = 20


def run_child(body: Callable[[Callable[[bytes], None]], None]) -> tuple[int, bytes]:
    """Run `body(report)` in a child; its exit code and everything it reported.

    Code 0: the body returned; 1: it raised (the text is reported); anything else is the body's.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(body, read_end, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe, _killed_after_deadline(pid):
        reported = pipe.read()
    _pid, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), reported


def _child(body: Callable[[Callable[[bytes], None]], None], read_end: int, write_end: int) -> None:
    os.close(read_end)
    code = 1
    try:
        body(lambda data: void(os.write(write_end, data)))
        code = 0
    except BaseException as error:  # noqa: BLE001 - a child must not return into pytest
        os.write(write_end, repr(error).encode())
    finally:
        os._exit(code)


def void(_result: object) -> None:
    """Drop a result."""


@contextmanager
def _killed_after_deadline(pid: int) -> Iterator[None]:
    def kill(_signal: int, _frame: object) -> None:
        os.kill(pid, signal.SIGKILL)

    before = signal.signal(signal.SIGALRM, kill)
    signal.alarm(CHILD_DEADLINE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
