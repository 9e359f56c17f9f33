"""The control plane: etcd, apiserver, controllers, scheduler, DNS, volumes; and their settings."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.kube.testbed import volumes
from tests.kube.testbed.layout import (
    API_PORT,
    CLUSTER_DOMAIN,
    HUB_IP,
    REPOSITORY,
    SERVICES,
)
from tests.kube.testbed.machines import DaemonSpec
from tests.kube.testbed.state import ClusterState

APISERVER = "kube-apiserver"
_ETCD = "http://127.0.0.1"
# Not just an open port: before the built-in roles are written, the controller manager is refused
# its first requests and ends.
_READY = f"https://127.0.0.1:{API_PORT}/readyz"

# No forward plugin: names outside the cluster fail at once. ttl 1 and no cache: a test that
# restarts a pod must not read its old address.
_COREFILE = """.:53 {{
    bind {hub}
    health 127.0.0.1:8081
    ready 127.0.0.1:8181
    errors
    kubernetes {domain} in-addr.arpa {{
        kubeconfig {settings}/coredns.kubeconfig
        pods verified
        ttl 1
    }}
}}
"""


def corefile(settings: Path) -> str:
    """CoreDNS' settings."""
    return _COREFILE.format(hub=HUB_IP, domain=CLUSTER_DOMAIN, settings=settings)


def etcd_arguments() -> list[str]:
    """One member, on the hub's loopback."""
    return [
        "--name=hub",
        "--data-dir=/var/lib/etcd",
        f"--listen-client-urls={_ETCD}:2379",
        f"--advertise-client-urls={_ETCD}:2379",
        f"--listen-peer-urls={_ETCD}:2380",
        f"--initial-advertise-peer-urls={_ETCD}:2380",
        f"--initial-cluster=hub={_ETCD}:2380",
        # The host's power is not what we cut, and slow disks stall etcd.
        "--unsafe-no-fsync",
    ]


def apiserver_arguments(pki: Path) -> list[str]:
    """As in production where a test could notice; quick where waiting proves nothing."""
    issuer = f"kubernetes.default.svc.{CLUSTER_DOMAIN}"
    return [
        f"--etcd-servers={_ETCD}:2379",
        f"--advertise-address={HUB_IP}",
        "--bind-address=0.0.0.0",  # of the hub's own namespace
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={SERVICES}",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        # exec, logs and port-forward go from here to the kubelets.
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        # The hub cannot resolve node names.
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://{issuer}",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        # A second authority vouches for the apiserver towards aggregated APIs. Without it every
        # component complains about a missing request header CA.
        f"--requestheader-client-ca-file={pki}/front-ca.crt",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy.crt",
        f"--proxy-client-key-file={pki}/front-proxy.key",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        # The hub has no kube-proxy: reach webhooks at the pods, not at the Service's address.
        "--enable-aggregator-routing=true",
        # Pods leave a lost node after 20 s, not after five minutes.
        "--default-not-ready-toleration-seconds=20",
        "--default-unreachable-toleration-seconds=20",
        "--profiling=false",
    ]


def controller_manager_arguments(pki: Path, settings: Path) -> list[str]:
    """A lost node is noticed after 12 s."""
    own = settings / "controller-manager.kubeconfig"
    return [
        f"--kubeconfig={own}",
        f"--authentication-kubeconfig={own}",
        f"--authorization-kubeconfig={own}",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--use-service-account-credentials=true",
        "--bind-address=127.0.0.1",
        # There is one instance; an election would add 15 s to a restart.
        "--leader-elect=false",
        # A silent node counts as lost after 12 s, not 50; the kubelets' leases match.
        "--node-monitor-grace-period=12s",
        "--node-monitor-period=2s",
        "--profiling=false",
    ]


def scheduler_arguments(settings: Path) -> list[str]:
    """One instance, as above."""
    own = settings / "scheduler.kubeconfig"
    return [
        f"--kubeconfig={own}",
        f"--authentication-kubeconfig={own}",
        f"--authorization-kubeconfig={own}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    ]


def hub_daemons(state: ClusterState) -> list[DaemonSpec]:
    """Write the hub's settings and name its daemons."""
    pki, settings, programs = state.folders.certificates, state.folders.settings, state.programs
    (settings / "Corefile").write_text(corefile(settings))
    controllers = controller_manager_arguments(pki, settings)
    provisioner = [sys.executable, "-m", volumes.__name__, str(state.workdir)]
    return [
        DaemonSpec("etcd", [f"{programs}/etcd", *etcd_arguments()]),
        DaemonSpec(
            APISERVER,
            [f"{programs}/kube-apiserver", *apiserver_arguments(pki)],
            needs=f"{_ETCD}:2379/health",
        ),
        DaemonSpec(
            "kube-controller-manager",
            [f"{programs}/kube-controller-manager", *controllers],
            needs=_READY,
        ),
        DaemonSpec(
            "kube-scheduler",
            [f"{programs}/kube-scheduler", *scheduler_arguments(settings)],
            needs=_READY,
        ),
        DaemonSpec(
            "coredns", [f"{programs}/coredns", "-conf", f"{settings}/Corefile"], needs=_READY
        ),
        DaemonSpec(
            "provisioner",
            ["/usr/bin/env", "-C", str(REPOSITORY), *provisioner],
            needs=_READY,
        ),
    ]
