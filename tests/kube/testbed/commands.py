"""Running programs and waiting for conditions, each with a deadline and a telling error."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, ClassVar, TypeVar

Seen = TypeVar("Seen")

COMMAND_DEADLINE_S = 60.0
POLL_S = 0.1
TAIL_CHARACTERS = 2000


class TestbedError(Exception):
    """A failure the reader can act on; the message says how."""

    __test__: ClassVar[bool] = False  # the name makes pytest look


def say(text: str) -> None:
    """Tell a person how far we are."""
    sys.stderr.write(f"testbed: {text}\n")
    sys.stderr.flush()


def tail(path: Path) -> str:
    """The end of a log, for an error's message."""
    try:
        return path.read_text(errors="replace")[-TAIL_CHARACTERS:]
    except OSError as error:
        return f"(no log: {error})"


def run(
    arguments: Sequence[str | Path],
    *,
    deadline_s: float = COMMAND_DEADLINE_S,
    stdin: IO[bytes] | None = None,
    given: str | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Run a program to its end and return its output, or say what it said."""
    words = [str(argument) for argument in arguments]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            # A program gets what it is given, or a file, or nothing; never our terminal.
            input=None if given is None else given.encode(),
            stdin=None if given is not None else stdin or subprocess.DEVNULL,
            timeout=deadline_s,
            env=environment,
            cwd=folder,
            check=False,
        )
    except FileNotFoundError as error:
        raise TestbedError(f"`{words[0]}` is not there: {error}") from None
    except subprocess.TimeoutExpired as error:
        said = _end(error.stderr or error.stdout)
        raise TestbedError(f"`{' '.join(words)}` took over {deadline_s:.0f} s:\n{said}") from None
    if done.returncode:
        said = _end(done.stderr or done.stdout)
        raise TestbedError(f"`{' '.join(words)}` ended with {done.returncode}:\n{said}")
    return done.stdout.decode(errors="replace")


def _end(said: bytes | None) -> str:
    return (said or b"").decode(errors="replace")[-TAIL_CHARACTERS:]


def succeeds(arguments: Sequence[str | Path]) -> bool:
    """Whether a program ends well within the deadline."""
    try:
        run(arguments)
    except TestbedError:
        return False
    return True


def wait_for(
    condition: Callable[[], Seen],
    deadline_s: float,
    what: str,
    *,
    poll_s: float = POLL_S,
    seen: Callable[[], str] | None = None,
) -> Seen:
    """Ask until the answer is true, and return it; the error names what never came.

    `seen` tells what there was instead, for the error's message.
    """
    end = time.monotonic() + deadline_s
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > end:
            instead = f"\nseen instead:\n{seen()}" if seen else ""
            raise TestbedError(f"waited {deadline_s:.0f} s in vain for {what}{instead}")
        time.sleep(poll_s)
