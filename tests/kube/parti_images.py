"""parti's own images, built from the Dockerfile and loaded on every node of a testbed."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

from parti_sidecar.version import VERSION
from tests.kube.testbed import buildah, layout
from tests.kube.testbed.commands import TestbedError, say
from tests.kube.testbed.testbed import Testbed


@dataclass(frozen=True, slots=True)
class Images:
    """The names of parti's images on a cluster."""

    sidecar: str
    operator: str
    demo: str
    app: str  # of the scenarios: tests/kube/app
    app_next: str  # the same under another name, for a change of image


# What the Dockerfile calls the first ones, in the order of the fields above. They get the names
# that the chart and the samples use, so that what the README says works here as it stands.
_TARGETS = ("sidecar", "operator", "example")
BUILT = Images(
    *(f"ghcr.io/parti-dev/parti-{target}:{VERSION}" for target in _TARGETS),
    *(f"localhost/parti/{name}:test" for name in ("app", "app-next")),
)
_APP_DOCKERFILE = layout.REPOSITORY / "tests" / "kube" / "app" / "Dockerfile"


def build_and_load(testbed: Testbed) -> Images:
    """Build what has changed, and load all on every running node."""
    for target, name in zip(_TARGETS, astuple(BUILT), strict=False):
        say(f"building {name} (1 min, 5 s when nothing has changed)")
        buildah.build(layout.REPOSITORY, target, name)
    say(f"building {BUILT.app} (5 s)")
    buildah.build(layout.REPOSITORY, "", BUILT.app, _APP_DOCKERFILE)
    buildah.tag(BUILT.app, BUILT.app_next)
    say("loading the images on every node (20 s)")
    testbed.load_built(astuple(BUILT))
    return BUILT


def parse(text: str) -> Images:
    """Names as people give them: `sidecar=NAME,operator=NAME,...`, a name for every field."""
    found = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    try:
        return Images(**found)
    except TypeError:
        form = ",".join(f"{field.name}=NAME" for field in fields(Images))
        raise TestbedError(f"images are given as {form}, not {text!r}") from None
