"""parti's own images, built from the Dockerfile and loaded on every node of a testbed."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from tests.kube.testbed import buildah, layout
from tests.kube.testbed.commands import TestbedError, say
from tests.kube.testbed.testbed import Testbed


@dataclass(frozen=True, slots=True)
class Images:
    """The names of parti's images on a cluster."""

    sidecar: str
    operator: str
    demo: str


# What the Dockerfile calls them, in the order of the fields above.
_TARGETS = ("sidecar", "operator", "example")
BUILT = Images(*(f"localhost/parti/{target}:test" for target in _TARGETS))


def build_and_load(testbed: Testbed) -> Images:
    """Build what has changed, and load all on every running node."""
    for target, name in zip(_TARGETS, astuple(BUILT), strict=True):
        say(f"building {name} (1 min, 5 s when nothing has changed)")
        buildah.build(layout.REPOSITORY, target, name)
    say("loading the images on every node (20 s)")
    testbed.load_built(astuple(BUILT))
    return BUILT


def parse(text: str) -> Images:
    """Names as people give them: `sidecar=NAME,operator=NAME,demo=NAME`."""
    found = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    try:
        return Images(**found)
    except TypeError:
        raise TestbedError(
            f"images are given as sidecar=NAME,operator=NAME,demo=NAME, not {text!r}"
        ) from None
