from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.kube import clusters, parti_images
from tests.kube.testbed import buildah, images, layout
from tests.kube.testbed.commands import TestbedError
from tests.kube.testbed.kubectl import Kubectl


def test_an_image_by_hand_agrees_with_itself() -> None:
    layers = [b"one", b"two"]
    with tarfile.open(
        fileobj=io.BytesIO(images.docker_archive(layers, {"A": 1}, "x:1"))
    ) as archive:
        content = {m.name: (archive.extractfile(m) or io.BytesIO()).read() for m in archive}
    [manifest] = json.loads(content["manifest.json"])
    assert manifest["RepoTags"] == ["x:1"]
    assert [content[name] for name in manifest["Layers"]] == layers
    config = json.loads(content[manifest["Config"]])
    assert config["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers
    ]
    assert config["config"] == {"A": 1}
    assert manifest["Config"] == hashlib.sha256(content[manifest["Config"]]).hexdigest() + ".json"


def test_what_a_dockerfile_builds_on() -> None:
    text = (
        "# syntax=docker/dockerfile:1\n"
        "ARG BASE=docker.io/library/python:3.11-slim-bookworm\n"
        "FROM ${BASE} AS first\n"
        "from --platform=linux/amd64 python:3.11-slim as Second\n"
        "FROM first AS third\n"
        "FROM Second\n"
        "FROM scratch\n"
    )
    assert buildah.bases(text) == [
        "docker.io/library/python:3.11-slim-bookworm",
        "python:3.11-slim",
    ]


def test_an_image_that_only_a_registry_has_is_refused() -> None:
    with pytest.raises(TestbedError, match=r"no registry here: .* not alpine:3"):
        buildah.bases("FROM alpine:3\nFROM python:3.11-slim\n")


def test_an_image_that_was_built_here_needs_no_registry() -> None:
    for name in ("localhost/below:1", "ghcr.io/parti-dev/parti-sidecar:0.1.0"):
        assert buildah.bases(f"ARG BELOW={name}\nFROM ${{BELOW}}\n") == []


def test_our_dockerfile_has_every_target_and_a_known_base() -> None:
    text = (layout.REPOSITORY / "Dockerfile").read_text()
    assert buildah.bases(text) == ["python:3.11-slim"]
    for target in ("sidecar", "operator", "example"):
        assert f"AS {target}\n" in text


def test_a_missing_dockerfile_is_named(tmp_path: Path) -> None:
    with pytest.raises(TestbedError, match=r"there is no .*Dockerfile"):
        buildah.build(tmp_path, "", "x:1")


def test_pip_in_the_base_image_asks_the_same_index() -> None:
    assert buildah.pip_settings({}) == "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n"
    assert "index_url = https://localhost/x\n" in buildah.pip_settings(
        {"PIP_INDEX_URL": "https://localhost/x"}
    )


def test_images_of_a_given_cluster_are_all_named() -> None:
    given = "sidecar=a:1,operator=b:1,demo=c:1,app=d:1,app_next=e:1"
    assert parti_images.parse(given).operator == "b:1"
    for text in ("sidecar=a:1", "sidecar=a:1,operator=b:1,demo=c:1,other=d:1", "a"):
        with pytest.raises(TestbedError, match="images are given as"):
            parti_images.parse(text)


def test_what_cannot_run_is_skipped_unless_it_is_required() -> None:
    with pytest.raises(pytest.skip.Exception, match="no luck"):
        clusters.cannot("no luck", {})
    with pytest.raises(pytest.fail.Exception, match="PARTI_KUBE_REQUIRED=1, and no luck"):
        clusters.cannot("no luck", {"PARTI_KUBE_REQUIRED": "1"})


def test_nodes_of_a_foreign_cluster_are_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PARTI_KUBE_REQUIRED", raising=False)
    cluster = clusters.Cluster(Kubectl("kubectl", Path("kubeconfig")), None)
    with pytest.raises(pytest.skip.Exception, match="cannot be broken"):
        cluster.nodes()
    with pytest.raises(pytest.skip.Exception, match="PARTI_KUBE_IMAGES"):
        clusters.images_for(cluster, {})
    named = "sidecar=a:1,operator=b:1,demo=c:1,app=d:1,app_next=e:1"
    assert clusters.images_for(cluster, {"PARTI_KUBE_IMAGES": named}).demo == "c:1"


def test_kubectl_speaks_of_one_cluster_and_namespace() -> None:
    kubectl = Kubectl("kubectl", Path("/k"))
    assert kubectl.command("get", "pods") == ["kubectl", "--kubeconfig", "/k", "get", "pods"]
    assert kubectl.within("n").command("get", "x")[3:] == ["--namespace", "n", "get", "x"]


def test_kubectl_notices_what_was_not_refused(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text('#!/bin/sh\necho "$@"\ncat\ncase "$*" in *bad*) exit 1;; esac\n')
    program.chmod(0o755)
    kubectl = Kubectl(str(program), tmp_path / "k")
    assert "create bad" in kubectl.refused("create", "bad")
    with pytest.raises(TestbedError, match="was not refused"):
        kubectl.refused("create", "good")
    assert '"items": [{"kind": "A"}]' in kubectl.apply({"kind": "A"})
    with pytest.raises(TestbedError, match="does not listen"), kubectl.port_forward("pod/x", 80):
        pass
