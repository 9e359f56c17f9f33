from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from tests.kube.testbed import host, layout, programs
from tests.kube.testbed.commands import TestbedError

SOURCES = [("kube/go.mod", b"module a"), ("dns/main.go", b"package main")]


def key(sources: list[tuple[str, bytes]], flags: str = "-s", machine: str = "x86_64") -> str:
    return programs.cache_key(sources, flags, machine)


def test_the_cache_key_follows_all_that_decides_the_programs() -> None:
    first = key(SOURCES)
    assert key(SOURCES[::-1]) == first
    moved = [("kube/go.sum", b"module a"), SOURCES[1]]
    changed = [("kube/go.mod", b"module b"), SOURCES[1]]
    shifted = [("kube/go.mod", b"module "), ("dns/main.go", b"apackage main")]
    others = [key(moved), key(changed), key(shifted), key(SOURCES, "-w"), key(SOURCES, "-s", "arm")]
    assert len({first, *others}) == 6


def test_versions_are_stamped() -> None:
    flags = programs.linker_flags("1.34.4")
    for part in ("gitVersion=v1.34.4", "gitMajor=1", "gitMinor=34"):
        assert f"k8s.io/component-base/version.{part}" in flags


def test_the_modules_are_of_the_stated_version() -> None:
    module = (layout.TOOLS / "kube" / "go.mod").read_text()
    assert f"k8s.io/kubernetes v{layout.KUBERNETES_VERSION}" in module
    for step in programs.STEPS:
        assert (layout.TOOLS / step.module / "go.mod").is_file()
    assert sorted(step.program for step in programs.STEPS) == sorted(programs.PROGRAMS)


def test_without_go_and_without_programs_the_build_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TestbedError, match="`go` is not on the PATH"):
        programs.build()
    programs.programs_folder().mkdir(parents=True)
    for name in programs.PROGRAMS:
        (programs.programs_folder() / name).touch()
    assert programs.build() == programs.programs_folder()


def test_the_programs_of_one_other_checkout_are_kept(tmp_path: Path) -> None:
    for age, name in enumerate(("current", "new", "old", "older")):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    left = programs.superseded(tmp_path.iterdir(), tmp_path / "current")
    assert sorted(path.name for path in left) == ["old", "older"]


def test_the_cache_folder_is_the_users() -> None:
    assert layout.cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/parti/kube")
    assert layout.cache_folder({}) == Path.home() / ".cache" / "parti" / "kube"


def test_missing_packages_are_named_once() -> None:
    assert host.missing_packages(lambda _: True) == []
    assert host.missing_packages(lambda what: what not in {"ctr", "containerd", "ip"}) == [
        "containerd",
        "iproute2",
    ]


def test_folders_that_machines_do_not_see_are_found() -> None:
    good, bad = Path("/srv/var/x"), [Path("/var/lib/x"), Path("/run/x")]
    assert host.hidden([good, *bad]) == bad


def test_each_obstacle_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    assert host.obstacle() == "the testbed needs Linux, this is Windows"
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert host.obstacle() == "the testbed needs root: it makes namespaces and cgroups"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert host.obstacle().startswith("/var/cache/parti/kube lies under /var or /run")
    monkeypatch.setenv("XDG_CACHE_HOME", str(layout.REPOSITORY / "no-such-folder"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no Go" in host.obstacle()
    monkeypatch.setattr(programs, "are_built", lambda: True)
    assert "there is no apt-get" in host.obstacle()


def test_kernel_settings_go_back_with_the_last_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = tmp_path / "setting"
    setting.write_text("7")
    running = tmp_path / "running"
    running.mkdir()
    monkeypatch.setattr(layout, "RUNNING", running)
    (running / "sysctls").write_text(json.dumps({str(setting): "1"}))
    (running / "other.json").touch()
    host.restore_settings()
    assert setting.read_text() == "7"
    (running / "other.json").unlink()
    host.restore_settings()
    assert setting.read_text() == "1"
    assert not (running / "sysctls").exists()
