"""`parti lock`: a command that runs only while this machine holds a lock of the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Sequence

import click

import parti
from parti_cli import tether
from parti_cli.errors import CannotConnectError, CliError, UsageError
from parti_cli.options import Settings, app_options

__all__ = ["lock"]

TERMINATE_S = 5.0  # what the command has left when the lock is lost


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--ttl",
    type=click.FloatRange(min=1, max=3600),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="A holder that falls silent loses the lock after this time.",
)
@click.option("--no-wait", is_flag=True, help="Fail at once if somebody else holds it.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Wait at most so long for it.  [default: as long as it takes]",
)
@app_options
def lock(
    settings: Settings,
    name: str,
    command: tuple[str, ...],
    ttl: float,
    wait_s: float | None,
    *,
    no_wait: bool,
) -> None:
    """Run COMMAND while holding the lock NAME: `parti lock nightly -- ./report.sh`.

    The command finds the fencing token in PARTI_LOCK_TOKEN: it rises from holder to holder, so that
    a database can refuse a former one. If the lock is lost the command is told to end with SIGTERM
    and is killed 5 s later; if `parti lock` itself is killed, so is the command (Linux). Ends with
    the exit code of the command; 1 if the lock was not held, or was lost.
    """
    if settings.as_json:
        raise UsageError("a lock prints nothing of its own: there is no JSON")
    try:
        code = asyncio.run(_run(settings, name, command, ttl=ttl, wait=not no_wait, wait_s=wait_s))
    except parti.PartiError as error:
        raise CliError(str(error)) from error
    sys.exit(code)


async def _run(
    settings: Settings,
    name: str,
    command: Sequence[str],
    *,
    ttl: float,
    wait: bool,
    wait_s: float | None,
) -> int:
    async with parti.Client(settings.address) as client:
        await _connected(client, settings)
        held = client.lock(name, ttl=ttl, value=f"{os.uname().nodename}:{os.getpid()}")
        if not await held.acquire(wait=wait, timeout=wait_s if wait else settings.timeout_s):
            raise CliError(f"somebody else holds the lock {name}")
        try:
            code = await _run_while_held(held, command)
        finally:
            lost = held.lost.is_set()
            await held.release()
    if lost:
        raise CliError(f"the lock {name} was lost, and the command was ended")
    return code


async def _connected(client: parti.Client, settings: Settings) -> None:
    try:
        await client.ready(settings.timeout_s)
    except parti.NotExecuted as error:
        raise CannotConnectError(
            f"cannot connect to the app API at {settings.address}: {error.message}",
            hint="Is the sidecar running? Name its app API with --app-addr or PARTI_ADDRESS.",
        ) from error


async def _run_while_held(held: parti.Lock, command: Sequence[str]) -> int:
    environment = os.environ | {"PARTI_LOCK_NAME": held.name, "PARTI_LOCK_TOKEN": str(held.token)}
    if shutil.which(command[0]) is None:
        raise CliError(f"cannot run {command[0]}: there is no such program")
    tethered = (sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command)
    process = await asyncio.create_subprocess_exec(*tethered, env=environment)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _signal, process, number)
    # The terminal sends Ctrl-C to the command as well, which decides what it means.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    ending = asyncio.ensure_future(process.wait())
    losing = asyncio.ensure_future(held.lost.wait())
    try:
        await asyncio.wait({ending, losing}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            await _end(process, ending)
        code = await ending
    finally:
        losing.cancel()
    return code if code >= 0 else 128 - code


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        process.send_signal(number)


async def _end(process: asyncio.subprocess.Process, ending: asyncio.Future[int]) -> None:
    _signal(process, signal.SIGTERM)
    await asyncio.wait({ending}, timeout=TERMINATE_S)
    if not ending.done():
        _signal(process, signal.SIGKILL)
