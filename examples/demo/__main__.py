"""`python -m examples.demo`: run the story, keep the cluster on a terminal, exit 1 on a fault."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import sys
import traceback
from pathlib import Path

from examples.demo.narrator import Narrator
from examples.demo.story import Story
from parti_cli.devcluster import DevCluster
from parti_cli.errors import CliError

_FOLDER = Path(".parti/demo")
_DEADLINE_S = 150.0
_TRY_NEXT = (
    "parti dev --dir .parti/demo status",
    "parti dev --dir .parti/demo run -- parti members",
    "parti dev --dir .parti/demo run -- parti explain 7",
    "parti dev --dir .parti/demo run -- parti watch    (and meanwhile: add, kill m1, pause m4)",
    "examples/hello/app.py is the smallest application of your own",
)


def main() -> int:
    """The whole demo."""
    narrator = Narrator()
    logging.getLogger("parti").setLevel(logging.ERROR)  # that a link breaks is part of the story
    signal.signal(signal.SIGTERM, _leave)
    cluster = DevCluster(_FOLDER)
    try:
        _make_room(cluster)
        with cluster:
            good = asyncio.run(_tell(cluster, narrator))
            if sys.stdin.isatty() and sys.stdout.isatty():
                _stay(narrator)
    except KeyboardInterrupt:
        return 130
    except CliError as error:  # says itself where to look
        narrator.verdict(f"the demo could not go on: {error}", good=False)
        return 1
    except TimeoutError as error:
        narrator.verdict(f"the demo could not go on: {str(error) or 'too slow'}", good=False)
        good = False
    except Exception:  # noqa: BLE001 - whatever it is, say it and where to look
        narrator.verdict("the demo could not go on", good=False)
        traceback.print_exc()
        good = False
    if not good:
        narrator.show(f"The logs are in {cluster.files.directory / 'members'}.")
    return 0 if good else 1


async def _tell(cluster: DevCluster, narrator: Narrator) -> bool:
    async with asyncio.timeout(_DEADLINE_S):
        return await Story(cluster, cluster.files.directory, narrator).run()


def _make_room(cluster: DevCluster) -> None:
    """Delete what the last run left; refuse while another one is running."""
    if cluster.files.exists() and cluster.running():
        raise CliError(
            "another demo is running here",
            hint="End it with Ctrl-C, or with: parti dev --dir .parti/demo down",
        )
    shutil.rmtree(_FOLDER, ignore_errors=True)


def _stay(narrator: Narrator) -> None:
    narrator.step("The cluster goes on until Ctrl-C. In another terminal, try:")
    for command in _TRY_NEXT:
        narrator.show(command)
    try:
        signal.pause()
    except KeyboardInterrupt:
        narrator.say("ending the cluster")


def _leave(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
