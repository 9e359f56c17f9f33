"""Images from a real Dockerfile, without a daemon, a registry or a container engine's service.

buildah has a store of its own in the cache folder, so the host's images stay untouched and layers
are kept between runs. What a Dockerfile calls `python:3.11-slim` is made once with debootstrap:
no registry is asked for it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.kube.testbed import layout
from tests.kube.testbed.commands import TestbedError, run, say
from tests.kube.testbed.layout import BASE_IMAGE
from tests.kube.testbed.state import locked

BUILD_DEADLINE_S = 900.0
BASE_DEADLINE_S = 900.0
# A changed source leaves about 20 layers, 300 MB, of the three images behind.
LAYERS_MAX = 400
_SUITE = "bookworm"
_BUILT_HERE = ("localhost/", "ghcr.io/parti-dev/")
_PACKAGES = "python3,python3-venv,ca-certificates"
_CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_BASE_NAME = re.compile(r"python:3\.11-slim(?:-bookworm)?")
_FROM = re.compile(r"^FROM\s+(?:--\S+\s+)*(\S+)", re.IGNORECASE | re.MULTILINE)
_STAGE = re.compile(r"^FROM\s+.*\s+AS\s+(\S+)\s*$", re.IGNORECASE | re.MULTILINE)
# Made anew where apt or Python needs them; nothing in a running container does.
_EMPTIED = (
    "var/cache/apt/archives/partial",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
)


def bases(dockerfile: str) -> list[str]:
    """What a Dockerfile builds on, its own stages and the empty image left out.

    Only images the stand-in can pass for are taken, and our own, which were built here before;
    anything else would need a registry.
    """
    arguments = dict(re.findall(r"^ARG\s+(\w+)=(\S+)", dockerfile, re.MULTILINE))
    named = [_filled(name, arguments) for name in _FROM.findall(dockerfile)]
    own = {*_STAGE.findall(dockerfile), "scratch"}
    found = sorted({n for n in named if n not in own and not n.startswith(_BUILT_HERE)})
    foreign = [name for name in found if not _BASE_NAME.search(name)]
    if foreign:
        raise TestbedError(f"no registry here: only python:3.11-slim, and not {', '.join(foreign)}")
    return found


def _filled(name: str, arguments: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda found: arguments.get(found[1], found[0]), name)


def _buildah(*arguments: str | Path, deadline_s: float = 120.0) -> str:
    store = layout.cache_folder() / "buildah"
    where = ["--root", f"{store}/root", "--runroot", f"{store}/run", "--storage-driver", "overlay"]
    # chroot: a RUN step needs no runtime, cgroup or network of its own.
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    return run(["buildah", *where, *arguments], deadline_s=deadline_s, environment=environment)


def build(folder: Path, target: str, name: str, dockerfile: Path | None = None) -> None:
    """Build one target of a Dockerfile into the store, under a name."""
    dockerfile = dockerfile or folder / "Dockerfile"
    if not dockerfile.is_file():
        raise TestbedError(f"there is no {dockerfile}")
    with locked(layout.cache_folder() / "buildah.lock", BASE_DEADLINE_S + BUILD_DEADLINE_S):
        _ensure_base(bases(dockerfile.read_text()))
        _prune()
        # --network host: RUN steps reach the package index as this machine does.
        # --format docker keeps HEALTHCHECK and SHELL, which OCI images do not have.
        options = ["--pull-never", "--format", "docker", "--layers", "--network", "host"]
        options += ["--file", str(dockerfile), "--tag", name]
        options += ["--target", target] if target else []
        try:
            _buildah("build", *options, folder, deadline_s=BUILD_DEADLINE_S)
        finally:
            _buildah("rm", "--all")  # a failed build leaves its container mounted on the host


def tag(name: str, *more: str) -> None:
    """Give an image of the store further names."""
    _buildah("tag", name, *more)


def _prune() -> None:
    """Forget the layers of old builds once there are many; the next build is then a cold one."""
    if len(_buildah("images", "--all", "--quiet").split()) > LAYERS_MAX:
        say("removing layers of old builds")
        _buildah("rmi", "--prune", deadline_s=BUILD_DEADLINE_S)


def export(names: Sequence[str], folder: Path) -> Path:
    """Put images into one archive; layers they share are in it once."""
    content = folder / "content"
    for name in names:
        _buildah("push", "--disable-compression", name, f"oci:{content}:{name}", deadline_s=300)
    archive = folder / "images.tar"
    run(["tar", "-cf", archive, "-C", content, "."], deadline_s=300)
    return archive


def _ensure_base(names: Sequence[str]) -> None:
    """Have the stand-in in the store, under the names a Dockerfile uses."""
    if not names:
        return
    if BASE_IMAGE not in _buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        say(f"making the base image for {', '.join(names)} with debootstrap (2 min, once)")
        _make_base()
    _buildah("tag", BASE_IMAGE, *names)


def _make_base() -> None:
    rootfs = layout.cache_folder() / "base-rootfs"
    shutil.rmtree(rootfs, ignore_errors=True)
    rootfs.mkdir(parents=True)
    rootfs.chmod(0o755)
    _fill_base(rootfs)
    container = _buildah("from", "scratch").strip()
    _buildah("copy", "--quiet", container, rootfs, "/", deadline_s=BASE_DEADLINE_S)
    path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    settings = ["--cmd", "python3", "--env", "LANG=C.UTF-8", "--env", f"PATH={path}"]
    _buildah("config", *settings, container)
    _buildah("commit", "--quiet", "--rm", container, BASE_IMAGE, deadline_s=BASE_DEADLINE_S)
    shutil.rmtree(rootfs)


def _fill_base(rootfs: Path) -> None:
    """Debian's Python 3.11 laid out as the official python:3.11-slim image is.

    That image has Python below /usr/local and installs into its site-packages. A virtual
    environment *at* /usr/local gives the same paths.
    """
    system = ["--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(rootfs), *_mirror()]
    run(["debootstrap", *system], deadline_s=BASE_DEADLINE_S)
    run(["chroot", rootfs, "/usr/bin/python3.11", "-m", "venv", "/usr/local"])
    for part in _EMPTIED:
        shutil.rmtree(rootfs / part, ignore_errors=True)
        (rootfs / part).mkdir(parents=True)
    # A RUN step meets the same certificates, and the same package index, as pip on the host.
    bundle = os.environ.get("PIP_CERT", f"/{_CA_BUNDLE}")
    shutil.copyfile(bundle, rootfs / _CA_BUNDLE)
    (rootfs / "etc" / "pip.conf").write_text(pip_settings(os.environ))


def pip_settings(environment: Mapping[str, str]) -> str:
    """pip's settings inside the base image."""
    lines = ["[global]", f"cert = /{_CA_BUNDLE}"]
    if index := environment.get("PIP_INDEX_URL"):
        lines.append(f"index_url = {index}")
    return "\n".join(lines) + "\n"


def _mirror() -> list[str]:
    """The mirror that apt uses here, so that no host is named; else debootstrap's own."""
    if not shutil.which("apt-get"):
        return []
    form = ["--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    lines = run(["apt-get", "indextargets", *form]).splitlines()
    return [uri for name, _, uri in (line.partition(" ") for line in lines) if name == _SUITE][:1]
