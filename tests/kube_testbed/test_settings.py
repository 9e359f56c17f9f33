from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.kube.testbed import certificates, hub, layout, node, volumes
from tests.kube.testbed.api import condition, first_objects
from tests.kube.testbed.certificates import Certificate, certificate_arguments
from tests.kube.testbed.cgroups import hierarchies
from tests.kube.testbed.state import ClusterState, Machine

PKI = Path("/w/pki")
NODE = Machine("node2", 2)
STATE = ClusterState(Path("/w"), 6000, Path("/p"), [Machine("hub", 0), NODE])


def test_a_servers_certificate_names_its_addresses() -> None:
    line = certificate_arguments(PKI, certificates.node_certificate(NODE))
    assert "subjectAltName=DNS:node2,IP:10.200.0.12" in line
    assert "extendedKeyUsage=clientAuth,serverAuth" in line
    assert line[line.index("-subj") + 1] == "/O=system:nodes/CN=system:node:node2"
    assert line[line.index("-CA") + 1] == "/w/pki/ca.crt"


def test_a_clients_certificate_serves_nothing() -> None:
    line = certificate_arguments(PKI, Certificate("x", "someone", authority="front-ca"))
    assert "extendedKeyUsage=clientAuth" in line
    assert not [word for word in line if "subjectAltName" in word]
    assert line[line.index("-subj") + 1] == "/CN=someone"
    assert line[line.index("-CAkey") + 1] == "/w/pki/front-ca.key"


def test_the_apiserver_can_be_reached_by_every_name_of_it() -> None:
    [apiserver] = [c for c in certificates.CONTROL_PLANE if c.file == "apiserver"]
    assert {"127.0.0.1", layout.HUB_IP, layout.FIRST_SERVICE_IP} <= set(apiserver.addresses)


def test_a_kubeconfig_holds_its_keys() -> None:
    keys = {"ca": b"A", "certificate": b"B", "key": b"C"}
    document = json.loads(certificates.kubeconfig("admin", "https://localhost:1", keys))
    [user], [cluster] = document["users"], document["clusters"]
    assert base64.b64decode(user["user"]["client-key-data"]) == b"C"
    assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]) == b"A"
    assert document["current-context"] == document["contexts"][0]["name"]


def test_every_flag_is_given_once() -> None:
    lists = [
        hub.etcd_arguments(),
        hub.apiserver_arguments(PKI),
        hub.controller_manager_arguments(PKI, Path("/w/conf")),
        hub.scheduler_arguments(Path("/w/conf")),
    ]
    for arguments in lists:
        names = [argument.partition("=")[0] for argument in arguments]
        assert len(names) == len(set(names))
        assert all(argument.startswith("--") and "=" in argument for argument in arguments[:-1])


def test_a_kubelet_renews_its_lease_several_times_before_it_counts_as_lost() -> None:
    settings = node.kubelet_config(STATE, NODE)
    arguments = hub.controller_manager_arguments(PKI, Path("/w/conf"))
    [grace] = [a.partition("=")[2] for a in arguments if "grace-period" in a]
    renewals_s = settings["nodeLeaseDurationSeconds"] / 4
    assert float(grace.rstrip("s")) >= 3 * renewals_s


def test_kubelets_of_one_host_keep_apart() -> None:
    settings = node.kubelet_config(STATE, NODE)
    assert settings["cgroupRoot"] == f"/{STATE.ident}/node2"
    assert settings["cgroupDriver"] == "cgroupfs"
    assert settings["address"] == "10.200.0.12"
    assert node.cni_config(NODE)["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.244.2.0/24"}]]
    assert node.proxy_config(STATE.folders, NODE)["hostnameOverride"] == "node2"


def test_templates_are_filled() -> None:
    config = node.containerd_config(Path("/cni"), Path("/conf"))
    assert 'bin_dir = "/cni"' in config
    assert f'sandbox_image = "{layout.PAUSE_IMAGE}"' in config
    assert "SystemdCgroup = false" in config
    assert "kubeconfig /w/conf/coredns.kubeconfig" in hub.corefile(Path("/w/conf"))


def test_cgroup_trees_of_both_versions() -> None:
    mountinfo = (
        "30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "31 30 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
        "32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    assert hierarchies(mountinfo, unified=False) == [Path("/sys/fs/cgroup/memory")]
    assert hierarchies("", unified=True) == [Path("/sys/fs/cgroup")]


def claim(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "metadata": {
            "name": "data-x-0",
            "namespace": "n",
            "uid": "u",
            "annotations": {"volume.kubernetes.io/selected-node": "node2"},
        },
        "spec": {
            "storageClassName": "standard",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    document["spec"] |= changes
    return document


def test_a_claim_is_served_once_its_place_is_known() -> None:
    assert volumes.needs_volume(claim())
    assert not volumes.needs_volume(claim(volumeName="pvc-u"))
    assert not volumes.needs_volume(claim(storageClassName="other"))
    early = claim()
    early["metadata"]["annotations"] = {}
    assert volumes.needs_volume(early)
    early["spec"]["storageClassName"] = "node-local"
    assert not volumes.needs_volume(early)
    assert volumes.needs_volume(claim(storageClassName="node-local"))


@pytest.mark.parametrize(
    ("storage_class", "key"),
    [("standard", "kubernetes.io/os"), ("node-local", "kubernetes.io/hostname")],
)
def test_a_volume_is_tied_to_a_node_by_its_class(storage_class: str, key: str) -> None:
    volume = volumes.volume_for(claim(storageClassName=storage_class), Path("/v/pvc-u"))
    [term] = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["key"] == key
    assert volume["spec"]["claimRef"]["uid"] == "u"
    assert volume["metadata"]["name"] == "pvc-u"


def test_only_our_released_volumes_are_removed() -> None:
    volume = volumes.volume_for(claim(), Path("/v/pvc-u"))
    assert not volumes.released(volume)
    assert volumes.released(volume | {"status": {"phase": "Released"}})
    volume["metadata"]["annotations"] = {}
    assert not volumes.released(volume | {"status": {"phase": "Released"}})


def test_one_storage_class_is_the_default() -> None:
    notes = [
        body["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"]
        for _, body in first_objects()
        if body["kind"] == "StorageClass"
    ]
    assert sorted(notes) == ["false", "true"]


def test_a_condition_may_be_missing() -> None:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert condition({"status": status}, "Ready") == "True"
    assert condition({"status": status}, "Happy") == ""
    assert condition({}, "Ready") == ""
