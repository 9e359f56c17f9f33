from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from tools import render_manifests


def test_files_are_what_the_chart_renders() -> None:
    stale = render_manifests.stale(render_manifests.ROOT)
    assert stale == [], "run: python -m tools.render_manifests"


def test_a_difference_is_noticed_told_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in render_manifests.FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(render_manifests.ROOT / name, tmp_path / name)
    manifest = tmp_path / "manifests" / "install.yaml"
    whole = manifest.read_text(encoding="utf-8")
    manifest.write_text(whole.replace("verbs:", "verbs: # edited"), encoding="utf-8")
    (tmp_path / "manifests" / "crd.yaml").unlink()
    monkeypatch.setattr(render_manifests, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["render_manifests", "--check"])
    with pytest.raises(SystemExit) as ended:
        render_manifests.main()
    assert ended.value.code == 1
    assert "out of date: manifests/crd.yaml, manifests/install.yaml;" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["render_manifests"])
    render_manifests.main()
    assert manifest.read_text(encoding="utf-8") == whole
    monkeypatch.setattr(sys, "argv", ["render_manifests", "--check"])
    render_manifests.main()


def test_everything_stands_in_the_manifest_in_an_order_that_can_be_applied() -> None:
    text = (render_manifests.ROOT / "manifests" / "install.yaml").read_text(encoding="utf-8")
    documents = list(yaml.safe_load_all(text))
    kinds = [one["kind"] for one in documents]
    assert kinds[:2] == ["Namespace", "CustomResourceDefinition"]
    assert {"Deployment", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"} <= set(kinds)
    assert "Pod" not in kinds
    assert documents[0]["metadata"]["labels"] == {
        "pod-security.kubernetes.io/enforce": "restricted"
    }
    namespaces = {one["metadata"].get("namespace", "parti-system") for one in documents}
    assert namespaces == {"parti-system"}


@pytest.mark.parametrize("name", ["crd.yaml", "install.yaml"])
def test_manifests_hold_nothing_that_only_helm_understands(name: str) -> None:
    text = (render_manifests.ROOT / "manifests" / name).read_text(encoding="utf-8")
    assert text.startswith("# Rendered from charts/parti")
    assert "helm.sh" not in text
    assert "managed-by" not in text
    # Some readers of manifests know no anchors.
    assert "&id" not in text
