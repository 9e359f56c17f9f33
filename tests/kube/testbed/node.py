"""A node: containerd, kubelet and kube-proxy, with settings that let several share one host."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.kube.testbed import host, machines, network
from tests.kube.testbed.commands import TestbedError
from tests.kube.testbed.layout import (
    CLUSTER_DOMAIN,
    HUB_IP,
    PAUSE_IMAGE,
    PODS,
    PREFIX,
    Folders,
    pod_network,
)
from tests.kube.testbed.machines import DaemonSpec
from tests.kube.testbed.state import ClusterState, Machine

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"

_CONTAINERD = """version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
# opt would create /opt/containerd on the host; the others probe absent file systems.
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  # The default is pulled from a registry.
  sandbox_image = "{pause}"
  # Pods ask for a negative score, which a host without CAP_SYS_RESOURCE refuses.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{conf}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def containerd_config(cni: Path, conf: Path) -> str:
    """containerd's settings."""
    return _CONTAINERD.format(socket=CONTAINERD_SOCKET, pause=PAUSE_IMAGE, cni=cni, conf=conf)


def cni_config(node: Machine) -> dict[str, Any]:
    """Use ptp rather than bridge: every packet between pods is routed.

    On a bridge the answer of a pod to a neighbour that called it by a Service address returns
    inside the bridge, past the address translation, unless br_netfilter is loaded and on.
    """
    ranges = [[{"subnet": pod_network(node.number)}]]
    ipam = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
    plugins = [
        {"type": "ptp", "ipMasq": False, "mtu": 1500, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "0.4.0", "name": PREFIX, "plugins": plugins}


def proxy_config(folders: Folders, node: Machine) -> dict[str, Any]:
    """kube-proxy's settings."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": node.name,
        "clusterCIDR": PODS,
        "bindAddress": node.ip,
        "healthzBindAddress": f"{node.ip}:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clientConnection": {"kubeconfig": f"{folders.settings}/kube-proxy.kubeconfig"},
        # Zero means "leave alone": these limits belong to the host and cannot be written from
        # another network namespace.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "iptables": {"minSyncPeriod": "0s", "syncPeriod": "30s"},
    }


def kubelet_config(state: ClusterState, node: Machine) -> dict[str, Any]:
    """The kubelet's settings."""
    pki = state.folders.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.ip,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/{node.name}.crt",
        "tlsPrivateKeyFile": f"{pki}/{node.name}.key",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        # There is no systemd here, and both sides must name the same driver.
        "cgroupDriver": "cgroupfs",
        # Keeps the pods of this node under one group, apart from other kubelets.
        "cgroupRoot": f"/{state.group(node)}",
        # False is the default up to 1.34; stated because 1.35 turns it around.
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [HUB_IP],
        "clusterDomain": CLUSTER_DOMAIN,
        # Pods with dnsPolicy Default would get the host's name server otherwise.
        "resolvConf": f"{state.folders.settings}/resolv.conf",
        **_disk_limits(),
        # A quarter of the lease is the renewal period: 3 s against the 12 s grace.
        "nodeLeaseDurationSeconds": 12,
        "nodeStatusUpdateFrequency": "3s",
        "nodeStatusReportFrequency": "30s",
        # Volumes and config maps are noticed sooner than the default minute.
        "syncFrequency": "10s",
        "volumePluginDir": "/var/lib/kubelet/plugins-exec",
        "enableServer": True,
    }


def _disk_limits() -> dict[str, Any]:
    """All nodes share the host's disk.

    Its fill level must not evict pods, and an image once collected cannot be pulled again.
    """
    disk = ("nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree")
    return {
        "evictionHard": {"memory.available": "100Mi", **dict.fromkeys(disk, "0%")},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def node_daemons(state: ClusterState, node: Machine) -> list[DaemonSpec]:
    """Write a node's settings and name its daemons."""
    containerd, plugins = shutil.which("containerd"), host.cni_folder()
    if containerd is None or plugins is None:
        raise TestbedError("containerd or the CNI plugins have gone; run `build` again")
    settings = state.folders.settings
    conf = settings / node.name
    cni = conf / "cni"
    cni.mkdir(parents=True, exist_ok=True)
    (settings / "resolv.conf").write_text(f"nameserver {HUB_IP}\n")
    (cni / f"10-{PREFIX}.conflist").write_text(json.dumps(cni_config(node)))
    (conf / "containerd.toml").write_text(containerd_config(plugins, cni))
    (conf / "kubelet.json").write_text(json.dumps(kubelet_config(state, node), indent=1))
    (conf / "proxy.json").write_text(json.dumps(proxy_config(state.folders, node), indent=1))
    labels = {
        "kubernetes.io/hostname": node.name,
        "topology.kubernetes.io/zone": f"zone-{node.number}",
    }
    kubelet = [
        f"{state.programs}/kubelet",
        f"--config={conf}/kubelet.json",
        f"--node-ip={node.ip}",
        f"--kubeconfig={settings}/{node.name}.kubeconfig",
        f"--hostname-override={node.name}",
        f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}",
    ]
    return [
        DaemonSpec("containerd", [containerd, "--config", f"{conf}/containerd.toml"]),
        DaemonSpec("kubelet", kubelet, needs=CONTAINERD_SOCKET),
        DaemonSpec("kube-proxy", [f"{state.programs}/kube-proxy", f"--config={conf}/proxy.json"]),
    ]


def start_node(state: ClusterState, node: Machine) -> None:
    """Start a node's machine, wire it and start its daemons."""
    machines.launch(state, node)
    network.wire_node(state, node)
    machines.name_daemons(state, node, node_daemons(state, node))
