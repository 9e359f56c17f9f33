"""Makes a folder for each claim, and removes it when it is released.

A `local` volume, because the kubelet applies fsGroup to it and not to hostPath. Class `standard`
may be mounted on any node, like a network disk (every machine sees the host's files);
`node-local` only where it was first used, so it is made when that is known.

    python -m tests.kube.testbed.volumes WORK-FOLDER
"""

from __future__ import annotations

import http.client
import shutil
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from tests.kube.testbed.api import STORAGE_LOCAL, STORAGE_SHARED, Api
from tests.kube.testbed.commands import TestbedError
from tests.kube.testbed.layout import API_PORT, PREFIX, Folders

POLL_S = 0.5
_CLAIMS, _VOLUMES = "/api/v1/persistentvolumeclaims", "/api/v1/persistentvolumes"
_NODE = "volume.kubernetes.io/selected-node"
_MAKER = "pv.kubernetes.io/provisioned-by"


def needs_volume(claim: dict[str, Any]) -> bool:
    """Whether a claim is ours to serve, and can be: the place of a local one is known."""
    spec, notes = claim["spec"], claim["metadata"].get("annotations", {})
    kind = spec.get("storageClassName")
    ready = kind == STORAGE_SHARED or (kind == STORAGE_LOCAL and _NODE in notes)
    return ready and not spec.get("volumeName")


def released(volume: dict[str, Any]) -> bool:
    """Whether a volume is ours and its claim is gone."""
    ours: bool = volume["metadata"].get("annotations", {}).get(_MAKER) == PREFIX
    phase = volume.get("status", {}).get("phase")
    policy = volume["spec"]["persistentVolumeReclaimPolicy"]
    return ours and phase == "Released" and policy == "Delete"


def volume_for(claim: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The volume that serves a claim."""
    meta, spec = claim["metadata"], claim["spec"]
    where = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
    if spec["storageClassName"] == STORAGE_LOCAL:
        node = meta["annotations"][_NODE]
        where = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": folder.name, "annotations": {_MAKER: PREFIX}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "storageClassName": spec["storageClassName"],
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [where]}]}},
        },
    }


def provision_once(api: Api, root: Path) -> None:
    """Look at every claim and every volume once."""
    for claim in filter(needs_volume, api.items(_CLAIMS)):
        folder = root / f"pvc-{claim['metadata']['uid']}"
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        api.create(_VOLUMES, volume_for(claim, folder))
    for volume in filter(released, api.items(_VOLUMES)):
        name = volume["metadata"]["name"]
        shutil.rmtree(root / name, ignore_errors=True)
        api.call("DELETE", f"{_VOLUMES}/{name}")


def main(workdir: Path) -> NoReturn:
    """Serve claims until the machine ends; a failure is noted and tried again."""
    folders = Folders(workdir)
    api = Api(folders.certificates, API_PORT)
    while True:
        try:
            provision_once(api, folders.volumes)
        except (OSError, http.client.HTTPException, TestbedError) as error:
            sys.stdout.write(f"{time.strftime('%H:%M:%S')} {error!r}\n")
            sys.stdout.flush()
        time.sleep(POLL_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
